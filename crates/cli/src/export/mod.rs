//! `dyconv export`: writes a model for other programs.

mod args;
mod frozen;
mod onnx;
mod report;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use dyconv_convert::{Names, export_hub, export_torch};
use dyconv_file::Model;

use crate::bank::refuse;
use report::Report;

pub use args::Args;

pub fn run(args: &Args) -> anyhow::Result<()> {
    // clap's `requires` is void where the required flag conflicts with one that is there.
    if args.onnx.is_none() {
        let flags = [
            ("--form", args.form.is_some()),
            ("--batch", args.batch.is_some()),
            ("--with-preprocessing", args.with_preprocessing),
            ("--data", args.data.is_some()),
        ];
        refuse(&flags, "an export without --onnx")?;
    }
    if args.torch.is_none() {
        refuse(&[("--names", args.names.is_some())], "an export without --torch")?;
    }
    let frozen = args.form == Some(args::Form::Frozen);
    refuse(&[("--data", args.data.is_some() && !frozen)], "another form than --form frozen")?;
    let (file, folder) = (args.onnx.as_deref().or(args.torch.as_deref()), args.hub.as_deref());
    if let Some(path) = file {
        ensure!(!path.exists(), "{} exists already; choose another file", path.display());
    }
    if let Some(path) = folder {
        ensure!(is_free(path), "{} exists already and is not empty; choose another folder", path.display());
    }
    let model = Model::read(&args.model)?;
    // Errors of a state dict are about the model.
    let in_model = || args.model.display().to_string();
    let report = match (&args.onnx, &args.torch, &args.hub) {
        (Some(path), ..) => onnx::export(args, &model, path)?,
        (_, Some(path), _) => {
            let names = args.names.map_or(Names::Torchvision, Names::from);
            Report::new(args, export_torch(&model, path, names).with_context(in_model)?, None)
        }
        (.., Some(folder)) => Report::new(args, export_hub(&model, folder).with_context(in_model)?, None),
        (None, None, None) => unreachable!("one of the three is required"),
    };
    report.print(args.json)
}

/// Whether a folder can be written: there is none, or it is empty.
fn is_free(folder: &Path) -> bool {
    !folder.exists() || fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
