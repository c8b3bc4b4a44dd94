//! Words for a person: arguments, progress, tables.

#[cfg(feature = "train")]
mod ablate;
mod bank;
mod bench;
#[cfg(feature = "train")]
mod compare;
mod cost;
mod eval;
#[cfg(feature = "train")]
mod inspect;
#[cfg(feature = "train")]
mod interrupt;
#[cfg(feature = "train")]
mod latency;
mod make_figures;
mod model_args;
mod models;
mod name_or_file;
mod new;
mod npy;
mod output;
mod pose_eval;
mod pose_predict;
mod predict;
#[cfg(feature = "train")]
mod recipe;
#[cfg(feature = "train")]
mod recipes;
mod run;
#[cfg(feature = "train")]
mod scores;
mod table;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_table;
#[cfg(feature = "train")]
mod train_view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Trains, measures and runs networks whose kernels depend on the input.
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

/// Runs the verb; errors are one line on standard error.
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        #[cfg(feature = "train")]
        Verb::Train(args) => train::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Predict(args) => predict::run(&args),
        Verb::Run(args) => run::run(&args),
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
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        #[cfg(feature = "train")]
        Err(error) if interrupt::is(&error) => {
            eprintln!("{error}");
            ExitCode::from(interrupt::STATUS)
        }
        Err(error) => {
            eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}
