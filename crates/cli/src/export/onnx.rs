//! `--onnx`: the form that is asked for, for the frozen one the mean attention, and what it costs.

use std::fs;
use std::path::Path;

use anyhow::bail;
use dyconv_convert::{self as convert, ImportOptions, MeanAttention, OnnxOptions, export_onnx, import};
use dyconv_file::Model;

use super::args::{Args, Form};
use super::frozen::Images;
use super::report::{Frozen, Report};

pub fn export(args: &Args, model: &Model, path: &Path) -> anyhow::Result<Report> {
    let images = match (args.form, &args.data) {
        // Of a static network nothing is averaged; it is refused below.
        (Some(Form::Frozen), _) if model.graph.dynamic_layers() == 0 => None,
        (Some(Form::Frozen), Some(data)) => Some((data, Images::open(args, data, model)?)),
        (Some(Form::Frozen), None) => bail!("--form frozen: name the data whose mean attention it gets with --data"),
        _ => None,
    };
    let attention = match &images {
        Some((_, images)) => images.mean_attention(model)?,
        None => MeanAttention::new(),
    };
    let form = args.form.map(|form| match form {
        Form::Exact => convert::Form::Exact,
        Form::Portable => convert::Form::Portable,
        Form::Frozen => convert::Form::Frozen(attention),
    });
    let options = OnnxOptions { form, batch: args.batch, with_preprocessing: args.with_preprocessing };
    let written = export_onnx(model, path, &options)?;
    let scored = images.map(|(data, images)| {
        // The network as it was written.
        let frozen = import(path, ImportOptions::default())?.model;
        let scores = images.scores(model, frozen)?;
        anyhow::Ok(Frozen { data: data.clone(), images: images.count, scores, what: images.to_string() })
    });
    let frozen = scored.transpose().inspect_err(|_| {
        // Without its scores it is not what was asked for.
        written.files.iter().for_each(|file| drop(fs::remove_file(&file.path)));
    })?;
    Ok(Report::new(args, written, frozen))
}
