//! How a network does on the held-out images: accuracy, confusions, the surest mistakes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use dyconv_data::{Broken, DataError, Dataset, Loader, LoaderOptions, Split, Transform};
use dyconv_file::write_atomically;
use dyconv_metrics::{Confusion, softmax, top_k};
use dyconv_nn::Network;
use serde::{Deserialize, Serialize};

use crate::attention::AttentionMeter;
use crate::learner::input;
use crate::{AttentionStats, TrainError};

/// How many mistakes are remembered.
const MISTAKES: usize = 24;

/// Scores of a network on the held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Top-1 accuracy, 0 to 1.
    pub accuracy: f64,
    pub classes: Vec<String>,
    /// Images by (label, answer), where there are any.
    pub confusion: Vec<(usize, usize, u64)>,
    /// The wrong answers that the network was surest of, surest first.
    pub mistakes: Vec<Mistake>,
    /// What the routers of a dynamic network did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionStats>,
}

/// An image that was taken for something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mistake {
    pub image: String,
    /// Its index among the held-out images.
    pub index: usize,
    pub label: usize,
    pub answer: usize,
    /// Probability of the answer.
    pub probability: f32,
}

/// Scores a network without gradients; `None` where `stop` was set meanwhile.
pub(crate) fn evaluate(
    dataset: &Arc<Dataset>,
    transform: &Transform,
    options: &LoaderOptions,
    network: &Network,
    epoch: usize,
    stop: &AtomicBool,
    broken: &mut dyn FnMut(&Broken),
) -> Result<Option<Evaluation>, DataError> {
    let device = Device::flex();
    let classes = dataset.classes().len();
    let mut confusion = Confusion::new(classes);
    let mut mistakes = Vec::new();
    let mut attention = AttentionMeter::new(network.graph());
    let mut batches = Loader::epoch(dataset, Split::Val, transform, None, options, 0);
    for batch in &mut batches {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch?;
        let images = input(&batch, 0..batch.len(), &device);
        let rows = network.forward_all(images, |node, value| attention.visit(node, value)).into_vec();
        attention.passed(batch.len());
        for ((row, &label), &index) in rows.chunks_exact(classes).zip(&batch.classes().labels).zip(&batch.indices) {
            // A row with a NaN is no answer.
            let answer = top_k(row, 1).first().filter(|_| row.iter().all(|v| !v.is_nan())).map_or(classes, |a| a.0);
            confusion.add(label, answer);
            if answer != label && answer < classes {
                let (_, image) = dataset.item(Split::Val, index);
                mistakes.push(Mistake { image, index, label, answer, probability: softmax(row)[answer] });
            }
        }
    }
    batches.broken().iter().for_each(broken);
    mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.index.cmp(&b.index)));
    mistakes.truncate(MISTAKES);
    let cells = confusion.rows().enumerate();
    let counts = cells.flat_map(|(label, row)| row.iter().enumerate().map(move |(answer, n)| (label, answer, *n)));
    Ok(Some(Evaluation {
        epoch,
        accuracy: confusion.accuracy(),
        classes: dataset.classes().to_vec(),
        confusion: counts.filter(|(_, _, n)| *n > 0).collect(),
        mistakes,
        attention: attention.finish(),
    }))
}

impl Evaluation {
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let text = serde_json::to_string(self).expect("plain values") + "\n";
        write_atomically(path, text.as_bytes()).map_err(|e| TrainError::write(path, e))
    }

    /// What was written, or `None` where nothing readable stands.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}
