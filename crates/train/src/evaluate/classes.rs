//! Scores of a classifier: accuracy, confusions, the most confident mistakes.

use dyconv_data::{Batch, Dataset, Split};
use dyconv_metrics::softmax;
use serde::{Deserialize, Serialize};

/// Number of mistakes that are kept.
const MISTAKES: usize = 24;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassScores {
    /// Top-1 accuracy, 0 to 1; `None` if no image could be read.
    pub accuracy: Option<f64>,
    pub classes: Vec<String>,
    /// Number of images by (label, prediction), nonzero ones only.
    pub confusion: Vec<(usize, usize, u64)>,
    /// The most confident wrong predictions, most confident first.
    pub mistakes: Vec<Mistake>,
}

/// An image that was misclassified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mistake {
    pub image: String,
    /// Its index among the validation images.
    pub index: usize,
    pub label: usize,
    pub answer: usize,
    /// Probability of the predicted class.
    pub probability: f32,
}

/// Accumulates predictions and mistakes.
pub(super) struct ClassMeter<'a> {
    dataset: &'a Dataset,
    meter: dyconv_metrics::ClassMeter,
    mistakes: Vec<Mistake>,
}

impl<'a> ClassMeter<'a> {
    pub fn new(dataset: &'a Dataset) -> Self {
        Self { dataset, meter: dyconv_metrics::ClassMeter::new(dataset.classes().len()), mistakes: Vec::new() }
    }

    /// Adds the logits `[N, classes]` of a batch.
    pub fn add(&mut self, batch: &Batch, rows: &[f32]) {
        let classes = self.dataset.classes().len();
        for ((row, &label), &index) in rows.chunks_exact(classes).zip(&batch.classes().labels).zip(&batch.indices) {
            if let Some(answer) = self.meter.add(row, label).filter(|answer| *answer != label) {
                let (_, image) = self.dataset.item(Split::Val, index);
                self.mistakes.push(Mistake { image, index, label, answer, probability: softmax(row)[answer] });
            }
        }
    }

    pub fn finish(self) -> ClassScores {
        let Self { dataset, meter, mut mistakes } = self;
        mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.index.cmp(&b.index)));
        mistakes.truncate(MISTAKES);
        ClassScores {
            accuracy: meter.confusion().accuracy(),
            classes: dataset.classes().to_vec(),
            confusion: meter.confusion().cells().collect(),
            mistakes,
        }
    }
}
