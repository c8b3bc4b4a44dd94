//! `dyconv import`: networks of other programs become model files.

mod args;
mod classes;
mod report;

use std::path::Path;

use anyhow::{anyhow, ensure};
use dyconv_convert::{Array, ConvertError, ImportOptions, Pair, import};
use dyconv_torch::TorchError;
use serde_json::{Map, Value};
use toml::Table;

use crate::output::print;
use crate::{npy, settings, skeleton};
use report::{Report, table};

pub use args::Args;

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(!args.out.exists(), "{} exists already; choose another file", args.out.display());
    match import(&args.source, options(args)?) {
        Ok(imported) => {
            imported.model.write(&args.out)?;
            Report::new(args, imported.report, true).print(args.json)
        }
        Err(ConvertError::Differs(report)) => {
            Report::new(args, (*report).clone(), false).print(args.json)?;
            Err(ConvertError::Differs(report).into())
        }
        Err(error) => {
            if let (false, ConvertError::Torch { error: TorchError::Mismatch(report), .. }) = (args.json, &error) {
                // The error counts what does not fit; the table lists it.
                print(&table(&report.as_ref().into()))?;
            }
            Err(match (&error, &args.classes) {
                (ConvertError::Classes { .. }, Some(path)) => {
                    anyhow::Error::new(error).context(path.display().to_string())
                }
                _ => error.into(),
            })
        }
    }
}

fn options(args: &Args) -> anyhow::Result<ImportOptions> {
    Ok(ImportOptions {
        arch: args.arch.clone(),
        image_size: args.image_size,
        classes: args.classes.as_deref().map(classes::read).transpose()?,
        skeleton: args.skeleton.as_deref().map(skeleton::read).transpose()?,
        tau: args.tau,
        to_dynamic: args.to_dynamic,
        preprocessing: preprocessing(&args.set)?,
        check: match args.check.as_deref() {
            Some([input, output]) => Some(Pair { input: array(input)?, output: array(output)? }),
            _ => None,
        },
    })
}

/// The keys of the preprocessing that `--set` sets.
fn preprocessing(set: &[Table]) -> anyhow::Result<Map<String, Value>> {
    let mut table = Table::new();
    settings::apply(&mut table, set, "preprocessing", "keys of the preprocessing")?;
    match serde_json::to_value(table)? {
        Value::Object(map) => Ok(map),
        other => Err(anyhow!("--set: expected a table, got {other}")),
    }
}

/// An array of `--check`.
fn array(path: &Path) -> anyhow::Result<Array> {
    let (shape, values) = npy::read(path)?;
    Ok(Array { name: path.display().to_string(), shape, values })
}
