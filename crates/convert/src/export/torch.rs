//! `--torch` and `--hub`: state dicts, read back and compared bit by bit.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use dyconv_file::{Model, write_atomically};
use dyconv_torch as torch;

use super::args::{Args, Names};
use super::report::{Check, File, Report};
use crate::answers::{Difference, answers, random_inputs};

/// Inputs that the network is run with.
const ROWS: usize = 3;

pub fn export(args: &Args, model: &Model, path: &Path) -> anyhow::Result<Report> {
    let names = args.names.unwrap_or(Names::Torchvision);
    let architecture = architecture(args, model)?;
    let in_model = || args.model.display().to_string();
    let bytes = torch::export(&model.graph, &model.weights, architecture, names.into()).with_context(in_model)?;
    write_atomically(path, &bytes).with_context(|| format!("{}: cannot be written", path.display()))?;
    let check = read_back(path, model).inspect_err(|_| drop(fs::remove_file(path)))?;
    Ok(Report {
        model: in_model(),
        kind: "torch",
        files: vec![File::written(path)?],
        names: Some(names.name()),
        checks: vec![check],
        ..Report::default()
    })
}

pub fn export_hub(args: &Args, model: &Model, folder: &Path) -> anyhow::Result<Report> {
    architecture(args, model)?;
    let in_model = || args.model.display().to_string();
    let existed = folder.exists();
    let made = torch::write_hub(folder, model).with_context(in_model).and_then(|()| read_back(folder, model));
    let check = made.inspect_err(|_| {
        // Only what was written here: the folder was empty.
        if existed {
            files(folder).into_iter().flatten().for_each(|path| drop(fs::remove_file(path)));
        } else {
            drop(fs::remove_dir_all(folder));
        }
    })?;
    let mut written = files(folder)?;
    written.sort();
    let files = written.iter().map(|path| File::written(path)).collect::<anyhow::Result<_>>()?;
    Ok(Report { model: in_model(), kind: "hub", files, checks: vec![check], ..Report::default() })
}

/// The name of the model's architecture, which decides the names of the tensors.
fn architecture<'a>(args: &Args, model: &'a Model) -> anyhow::Result<&'a str> {
    let name = model.provenance.model.as_str();
    ensure!(
        !name.is_empty(),
        "{}: does not name its architecture, so that its tensors have no names in PyTorch; --onnx writes any network",
        args.model.display()
    );
    Ok(name)
}

/// Reads what was written, and compares it with the model: the same tensors, bit by bit.
fn read_back(path: &Path, model: &Model) -> anyhow::Result<Check> {
    let source = path.to_str().context("the path is no text in UTF-8, and cannot be read back")?;
    let fault = "what was written cannot be read back; this is a fault of the program";
    let dict = torch::open(source).context(fault)?.dict;
    let back = torch::import(&dict, None).context(fault)?;
    let input = random_inputs(model.graph.input_dims(), ROWS, 0);
    let expected = answers(&model.graph, &model.weights, model.tau, &input, ROWS)?;
    let found = answers(&back.graph, &back.weights, model.tau, &input, ROWS)?;
    let difference = Difference::of(&found, &expected, ROWS, model.graph.output_shape());
    ensure!(
        back.graph == model.graph && back.weights == model.weights && difference.is_within(0.0),
        "what was written, read back, is not the same network: {difference}; nothing was written"
    );
    Ok(Check { batch: ROWS, difference })
}

/// The files of a folder.
fn files(folder: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
