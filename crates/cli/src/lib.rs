//! The program `dyconv`: one file per command. Everything user-facing is here: arguments, progress, tables, hints.
//!
//! [`main`] is the only public item; the package `dyconv` calls it. Without the feature `train` the program reads, runs
//! and describes models, and does not contain Burn.
#![forbid(unsafe_code)]

#[cfg(feature = "train")]
mod ablate;
mod bank;
mod bench;
#[cfg(feature = "train")]
mod compare;
mod cost;
mod eval;
mod export;
mod file_size;
mod held_out;
mod hints;
mod import;
#[cfg(feature = "train")]
mod inspect;
#[cfg(feature = "train")]
mod interrupt;
#[cfg(feature = "train")]
mod latency;
mod make_figures;
mod memory;
mod model_args;
mod models;
mod name_or_file;
mod new;
mod npy;
mod output;
mod panic;
mod pixels;
mod predict;
#[cfg(feature = "train")]
mod recipe;
#[cfg(feature = "train")]
mod recipes;
mod run;
#[cfg(feature = "train")]
mod scores;
mod settings;
mod skeleton;
mod stream;
mod table;
mod text;
mod threads;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_table;
#[cfg(feature = "train")]
mod train_view;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{note, written};
use crate::text::printable;

/// Train, measure and run networks whose kernels depend on the input
#[derive(Parser)]
#[command(
    name = "dyconv",
    version,
    after_help = "Examples:
  dyconv train                                  train on the handwritten digits inside this program
  dyconv train --data photos --out runs/photos  train on a folder with one folder per class
  dyconv eval runs/photos/model.safetensors --data photos
  dyconv predict runs/photos/model.safetensors cat.jpg dog.png
  dyconv inspect runs/photos/model.safetensors --data photos   what its attention is worth
  dyconv ablate --data photos --grid kernels=1,2,4 --seeds 5 --out runs/kernels
  dyconv compare runs/kernels runs/warm         finished runs over seeds, with Welch's t and p
  dyconv make-figures --out figures             persons with joints, to train a keypoint network on
  dyconv import resnet18.pth --out resnet18.safetensors         a network of PyTorch, timm or ONNX
  dyconv export resnet18.safetensors --onnx resnet18.onnx       and back
  dyconv models                                 every architecture with its cost

Results go to standard output, progress to standard error. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[cfg(feature = "train")]
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Run(run::Args),
    Import(import::Args),
    Export(export::Args),
    Models(models::Args),
    #[cfg(feature = "train")]
    Ablate(ablate::Args),
    #[cfg(feature = "train")]
    Compare(compare::Args),
    #[cfg(feature = "train")]
    Inspect(inspect::Args),
    #[cfg(feature = "train")]
    Recipes(recipes::Args),
    Cost(cost::Args),
    Bench(bench::Args),
    New(new::Args),
    MakeFigures(make_figures::Args),
}

/// Parses the arguments and runs the command. An error is one line on standard error. The exit status is 0 on success,
/// 1 on failure, 2 for wrong usage, 130 after an interrupt.
pub fn main() -> ExitCode {
    file_size::survive_bounds();
    panic::caught(|| match Cli::try_parse() {
        Ok(cli) => status(run(cli.verb)),
        Err(words) => usage(&words),
    })
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        #[cfg(feature = "train")]
        Verb::Train(args) => train::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Predict(args) => predict::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Models(args) => models::run(&args),
        #[cfg(feature = "train")]
        Verb::Ablate(args) => ablate::run(&args),
        #[cfg(feature = "train")]
        Verb::Compare(args) => compare::run(&args),
        #[cfg(feature = "train")]
        Verb::Inspect(args) => inspect::run(&args),
        #[cfg(feature = "train")]
        Verb::Recipes(args) => recipes::run(&args),
        Verb::Cost(args) => cost::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::New(args) => new::run(&args),
        Verb::MakeFigures(args) => make_figures::run(&args),
    }
}

fn status(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        #[cfg(feature = "train")]
        Err(error) if interrupt::is(&error) => {
            note(chain(&error));
            ExitCode::from(interrupt::STATUS)
        }
        Err(error) => {
            note(format_args!("error: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Prints clap's messages: help on standard output, usage errors on standard error.
fn usage(words: &clap::Error) -> ExitCode {
    if words.use_stderr() {
        // The message repeats the arguments, which must not control the terminal.
        let plain = std::env::args_os().all(|arg| printable(&arg.to_string_lossy()) == arg.to_string_lossy());
        if plain {
            // If the stream is closed, the message is dropped.
            let _ = words.print();
        } else {
            words.render().to_string().lines().for_each(note);
        }
        return ExitCode::from(2);
    }
    match written(words.print().and_then(|()| io::stdout().flush())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => status(Err(error)),
    }
}

/// An error, its causes and a hint, without repetitions: many messages already contain that of their cause, or begin
/// like the one before.
fn chain(error: &anyhow::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.last().is_some_and(|last| cause.starts_with(last.as_str())) {
            told.pop();
        }
        if !told.iter().any(|words| words.contains(&cause)) {
            told.push(cause);
        }
    }
    let words = told.join(": ");
    match hints::hint(error) {
        Some(hint) if !words.contains(hint.trim_start_matches(['.', ',', ';', ':', ' '])) => words + &hint,
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn no_cause_is_told_twice() {
        let error = anyhow!("No space left").context("a.csv: cannot be written: No space left. Go on").context("train");
        assert_eq!(chain(&error), "train: a.csv: cannot be written: No space left. Go on");
        let error = anyhow!("a.st: is no model").context("a.st").context("--from");
        assert_eq!(chain(&error), "--from: a.st: is no model");
        let error = Err::<(), _>(anyhow!("not found")).context("a.json: cannot be read").unwrap_err();
        assert_eq!(chain(&error), "a.json: cannot be read: not found");
    }

    #[test]
    fn the_arguments_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
