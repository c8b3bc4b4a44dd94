//! Evaluation of a network on the validation part.

mod classes;
mod keypoints;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dyconv_data::{Broken, Dataset, LoaderOptions, Transform};
use dyconv_file::write_atomically;
use dyconv_nn::Network;
use serde::{Deserialize, Serialize};

use crate::attention::AttentionMeter;
use crate::attention::AttentionStats;
use crate::error::TrainError;
use crate::learner::input;
use crate::objective::Objective;
pub(crate) use classes::ClassScores;
pub(crate) use keypoints::KeypointSummary;

/// Scores of a network on the validation part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Epoch, one-based.
    pub epoch: usize,
    #[serde(flatten)]
    pub scores: Scores,
    /// Statistics of the routers of a dynamic network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionStats>,
}

/// By task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scores {
    Classes(ClassScores),
    Keypoints(KeypointSummary),
}

/// Scores a network without gradients; `None` if `stop` was set meanwhile.
#[expect(clippy::too_many_arguments, reason = "what is scored, how it is read, and who gets the reports")]
pub(crate) fn evaluate(
    dataset: &Arc<Dataset>,
    transform: &Transform,
    objective: &Objective,
    options: &LoaderOptions,
    network: &Network,
    epoch: usize,
    stop: &AtomicBool,
    broken: &mut dyn FnMut(&Broken),
) -> Result<Option<Evaluation>, TrainError> {
    enum Meter<'a> {
        Classes(classes::ClassMeter<'a>),
        Keypoints(keypoints::KeypointMeter<'a>),
    }
    let device = network.device();
    let mut meter = match objective {
        Objective::Classes { .. } => Meter::Classes(classes::ClassMeter::new(dataset)),
        Objective::Keypoints { maps, .. } => Meter::Keypoints(keypoints::KeypointMeter::new(dataset, *maps)),
    };
    let mut attention = AttentionMeter::new(network.graph());
    let mut batches = objective.held_out(dataset, transform, options);
    for batch in &mut batches {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch?;
        let images = input(&batch, 0..batch.len(), &device);
        let answers = network.forward_all(images, |node, value| attention.visit(node, value)).into_vec();
        attention.passed(batch.len());
        match &mut meter {
            Meter::Classes(meter) => meter.add(&batch, &answers),
            Meter::Keypoints(meter) => meter.add(&batch, &answers),
        }
    }
    batches.broken().iter().for_each(broken);
    let scores = match meter {
        Meter::Classes(meter) => Scores::Classes(meter.finish()),
        Meter::Keypoints(meter) => Scores::Keypoints(meter.finish()?),
    };
    Ok(Some(Evaluation { epoch, scores, attention: attention.finish() }))
}

impl Evaluation {
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let text = serde_json::to_string(self).expect("plain values") + "\n";
        write_atomically(path, text.as_bytes()).map_err(|e| TrainError::write(path, e))
    }

    /// Reads an evaluation that was written, or `None` if there is no readable one.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}
