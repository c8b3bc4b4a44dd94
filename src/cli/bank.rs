//! `--bank`: how the kernel banks of a network are stored.

use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use dyconv::engine::{EngineError, Options, Plan, Storage};
use dyconv::file::{Mapped, Model};
use dyconv::graph::{Graph, TensorSource};
use dyconv::task::Task;
use dyconv::{Classifier, PoseEstimator};
use serde::Serialize;

use super::output::note;
use super::threads::tell;

/// `auto` keeps the smallest bank whose answers to probe inputs deviate by at most this much of the largest answer.
const AUTO_BOUND: f64 = 0.01;

/// How kernel banks are stored.
#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bank {
    /// Exact, four bytes a weight
    F32,
    /// Two bytes a weight
    Bf16,
    /// A byte a weight, with a scale per kernel and output channel
    Int8,
    /// The smallest that deviates by at most 1 % of the largest answer
    Auto,
}

impl Bank {
    /// Compiles a network; of `auto` also the deviation of what was chosen.
    pub fn compile(
        self,
        graph: &Graph,
        weights: &dyn TensorSource,
        tau: f32,
        options: Options,
    ) -> Result<(Plan, Option<f64>), EngineError> {
        let bank = match self {
            Bank::F32 => Storage::F32,
            Bank::Bf16 => Storage::Bf16,
            Bank::Int8 => Storage::Int8,
            Bank::Auto => {
                let (plan, deviation) = Plan::smallest_within(graph, weights, tau, AUTO_BOUND, options)?;
                return Ok((plan, Some(deviation)));
            }
        };
        Ok((Plan::with_options(graph, weights, tau, Options { bank, ..options })?, None))
    }

    /// Compiles the model file at `path`; says on standard error what `auto` has chosen.
    pub fn plan(self, path: &Path, model: &Model<()>, weights: &Mapped) -> anyhow::Result<Plan> {
        let (plan, deviation) = (self.compile(&model.graph, weights, model.tau, Options::default()))
            .with_context(|| path.display().to_string())?;
        if let Some(deviation) = deviation {
            note(choice(&plan, deviation));
        }
        Ok(plan)
    }

    /// The model file at `path`, compiled for so many threads.
    pub fn open(self, path: &Path, threads: usize) -> anyhow::Result<Opened> {
        let (model, weights) = Model::open(path)?.split();
        let plan = self.plan(path, &model, &weights)?;
        let opened = match model.task {
            Task::Classification { .. } => {
                Opened::Classifier(Classifier::with_plan(model, plan)?.with_threads(threads))
            }
            Task::Keypoints(_) => Opened::Pose(PoseEstimator::with_plan(model, plan)?.with_threads(threads)),
        };
        let given = match &opened {
            Opened::Classifier(classifier) => classifier.threads(),
            Opened::Pose(estimator) => estimator.threads(),
        };
        tell(threads, given);
        Ok(opened)
    }
}

/// A model file by what it answers.
pub enum Opened {
    Classifier(Classifier),
    Pose(PoseEstimator),
}

impl Opened {
    /// The same for images of up to so many pixels.
    pub fn with_max_pixels(self, max_pixels: usize) -> Self {
        match self {
            Self::Classifier(classifier) => Self::Classifier(classifier.with_max_pixels(max_pixels)),
            Self::Pose(estimator) => Self::Pose(estimator.with_max_pixels(max_pixels)),
        }
    }

    /// The model, without its weights.
    #[cfg(feature = "train")]
    pub fn model(&self) -> &Model<()> {
        match self {
            Self::Classifier(classifier) => classifier.model(),
            Self::Pose(estimator) => estimator.model(),
        }
    }
}

/// Refuses options of the other kind of model: `given` are those that may be there.
pub fn refuse(given: &[(&str, bool)], model: &str) -> anyhow::Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!("{option}: means nothing for {model}"),
        None => Ok(()),
    }
}

/// What `auto` has chosen, in words.
pub fn choice(plan: &Plan, deviation: f64) -> String {
    format!(
        "banks as {}: answers to probe inputs deviate by {:.2} % of the largest; the bound is {:.0} %",
        name(plan.bank()),
        100.0 * deviation,
        100.0 * AUTO_BOUND
    )
}

/// The name of a storage, as on the command line.
pub fn name(storage: Storage) -> &'static str {
    match storage {
        Storage::F32 => "f32",
        Storage::Bf16 => "bf16",
        Storage::Int8 => "int8",
    }
}
