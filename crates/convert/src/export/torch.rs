//! State dicts and hub folders: read back and compared bit by bit.

use std::fs;
use std::path::Path;

use dyconv_file::{Model, folder_of, write_atomically};
use dyconv_torch::{self as torch, Names, TorchError};

use super::report::{ExportCheck, ExportReport, WrittenFile};
use crate::answers::{Difference, answers, random_inputs};
use crate::error::ConvertError;
use crate::files::{Staging, cannot_write};

/// Inputs that the network is run with.
const ROWS: usize = 3;

/// Writes the weights of a model as a state dict of PyTorch, in safetensors. `names` says whose names the tensors get.
///
/// What is written is read back and compared bit by bit before it replaces what `path` was.
///
/// # Errors
/// [`ConvertError::NoArchitecture`] if the model does not name its architecture; if it is not one that has names in PyTorch, or the
/// file cannot be written.
pub fn export_torch(model: &Model, path: &Path, names: Names) -> Result<ExportReport, ConvertError> {
    let file_name = path.file_name().ok_or_else(|| ConvertError::NoFileName(path.to_owned()))?;
    let in_file = |error| ConvertError::Torch { name: path.display().to_string(), error };
    let bytes = torch::export(&model.graph, &model.weights, model.tau, architecture(model)?, names).map_err(in_file)?;
    let staging = Staging::new(folder_of(path), path)?;
    let staged = staging.folder().join(file_name);
    write_atomically(&staged, &bytes).map_err(cannot_write(path))?;
    let check = read_back(&staged, model, path)?;
    let files = WrittenFile::all(staging.place(path.parent().unwrap_or(Path::new("")))?)?;
    let names = match names {
        Names::Torchvision => "torchvision",
        Names::Timm => "timm",
    };
    Ok(ExportReport { kind: "torch", names: Some(names), ..report(files, check) })
}

/// Writes a classifier as a folder that the Hugging Face hub takes: `model.safetensors` with timm's names, `config.json` and
/// `README.md`. The folder must be empty or absent. What is written is read back and compared bit by bit.
///
/// # Errors
/// [`ConvertError::NotEmpty`] if the folder is not empty; as [`export_torch`]; and if the model is no classifier.
pub fn export_hub(model: &Model, folder: &Path) -> Result<ExportReport, ConvertError> {
    let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if folder.exists() && !is_empty(folder) {
        return Err(ConvertError::NotEmpty(folder.to_owned()));
    }
    architecture(model)?;
    // A folder that exists may be a file system of its own.
    let home = if folder.exists() { folder } else { folder_of(folder) };
    fs::create_dir_all(home).map_err(cannot_write(folder))?;
    let staging = Staging::new(home, folder)?;
    torch::write_hub(staging.folder(), model).map_err(|error| match error {
        TorchError::File { path, kind } => {
            let path = folder.join(path.file_name().unwrap_or_default());
            ConvertError::Open(TorchError::File { path, kind })
        }
        error => ConvertError::Torch { name: folder.display().to_string(), error },
    })?;
    let check = read_back(staging.folder(), model, folder)?;
    fs::create_dir_all(folder).map_err(cannot_write(folder))?;
    let files = WrittenFile::all(staging.place(folder)?)?;
    Ok(ExportReport { kind: "hub", ..report(files, check) })
}

fn report(files: Vec<WrittenFile>, check: ExportCheck) -> ExportReport {
    ExportReport { files, checks: vec![check], ..ExportReport::default() }
}

/// The name of the model's architecture, which decides the names of the tensors.
fn architecture(model: &Model) -> Result<&str, ConvertError> {
    match model.provenance.model.as_str() {
        "" => Err(ConvertError::NoArchitecture),
        name => Ok(name),
    }
}

/// Reads what was written for `target`, and compares it with the model: the same tensors, bit by bit.
fn read_back(written: &Path, model: &Model, target: &Path) -> Result<ExportCheck, ConvertError> {
    let source = written.to_str().ok_or_else(|| ConvertError::NotUtf8(target.to_owned()))?;
    let failed =
        |error: TorchError| ConvertError::ReadBack { name: target.display().to_string(), message: error.to_string() };
    let dict = torch::open(source).map_err(failed)?.dict;
    let back = torch::import(&dict, None).map_err(failed)?;
    let input = random_inputs(model.graph.input_dims(), ROWS, 0);
    let expected = answers(&model.graph, &model.weights, model.tau, &input, ROWS)?;
    let tau = back.tau.unwrap_or(model.tau);
    let found = answers(&back.graph, &back.weights, tau, &input, ROWS)?;
    let difference = Difference::of(&found, &expected, ROWS, model.graph.output_shape());
    let is_same = back.graph == model.graph && back.weights == model.weights && tau == model.tau;
    if is_same && difference.is_within(0.0) {
        Ok(ExportCheck { batch: ROWS, difference })
    } else {
        Err(ConvertError::NotTheSame { difference, bound: 0.0 })
    }
}
