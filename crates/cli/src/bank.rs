//! `--bank`: storage of a network's kernel banks.

use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use dyconv_engine::{Options, Plan};
use dyconv_file::{Mapped, Model};
use dyconv_predict::{self as predict, AUTO_BOUND, ModelOptions, Predictor};
use serde::Serialize;

use crate::output::note;
use crate::threads::tell;

/// Storage of kernel banks.
#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bank {
    /// Exact, four bytes per weight
    F32,
    /// Two bytes per weight
    Bf16,
    /// One byte per weight, with a scale per kernel and output channel
    Int8,
    /// The smallest for which outputs deviate by at most 1 % of the largest output
    Auto,
}

impl Bank {
    /// Compiles the model file at `path`; reports the choice of `auto` on standard error.
    pub fn plan(self, path: &Path, model: &Model<()>, weights: &Mapped) -> anyhow::Result<Plan> {
        let bank = predict::Bank::from(self);
        let (plan, deviation) = (bank.compile(&model.graph, weights, model.tau, Options::default()))
            .with_context(|| path.display().to_string())?;
        report(&plan, deviation);
        Ok(plan)
    }

    /// Compiles the model file at `path` with these banks; all other settings are those of `options`.
    pub fn open(self, path: &Path, options: ModelOptions) -> anyhow::Result<Predictor> {
        let predictor = options.bank(self.into()).open(path).with_context(|| path.display().to_string())?;
        report(predictor.plan(), predictor.bank_deviation());
        tell(options.threads, predictor.threads());
        Ok(predictor)
    }
}

impl From<Bank> for predict::Bank {
    fn from(bank: Bank) -> Self {
        match bank {
            Bank::F32 => Self::F32,
            Bank::Bf16 => Self::Bf16,
            Bank::Int8 => Self::Int8,
            Bank::Auto => Self::Auto,
        }
    }
}

/// Rejects options that belong to the other kind of model: `given` lists them and whether each is set.
pub fn refuse(given: &[(&str, bool)], model: &str) -> anyhow::Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!("{option}: means nothing for {model}"),
        None => Ok(()),
    }
}

/// Reports the choice of `auto`, if there was one, on standard error.
fn report(plan: &Plan, deviation: Option<f64>) {
    if let Some(deviation) = deviation {
        note(choice(plan, deviation));
    }
}

/// The choice of `auto` as text.
pub fn choice(plan: &Plan, deviation: f64) -> String {
    format!(
        "banks as {}: answers to probe inputs deviate by {:.2} % of the largest; the bound is {:.0} %",
        predict::Bank::from(plan.bank()).name(),
        100.0 * deviation,
        100.0 * AUTO_BOUND
    )
}
