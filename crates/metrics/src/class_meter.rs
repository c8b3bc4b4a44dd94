//! The scores of a classifier, in one pass over rows of logits.

use crate::{Confusion, TopK, answer};

/// Accumulates the predictions of a classifier: top-1 and top-5 accuracy, and confusions. Used by training and
/// evaluation.
///
/// ```
/// use dyconv_metrics::ClassMeter;
///
/// let mut meter = ClassMeter::new(3);
/// assert_eq!(meter.add(&[0.1, 2.0, -1.0], 1), Some(1));
/// assert_eq!(meter.add(&[0.1, f32::NAN, -1.0], 0), None);
/// assert_eq!((meter.top1(), meter.unanswered()), (Some(0.5), 1));
/// ```
#[derive(Debug, Clone)]
pub struct ClassMeter {
    top1: TopK,
    top5: TopK,
    confusion: Confusion,
}

impl ClassMeter {
    /// An empty meter for this number of classes.
    pub fn new(classes: usize) -> Self {
        Self { top1: TopK::new(1), top5: TopK::new(5), confusion: Confusion::new(classes) }
    }

    /// Adds the logits `[classes]` of an image with this label, and returns the predicted class
    /// ([`answer`](fn@answer)): `None`, which counts as wrong, if a logit is NaN.
    ///
    /// # Panics
    /// If the label is not below the number of classes.
    pub fn add(&mut self, logits: &[f32], label: usize) -> Option<usize> {
        let answer = answer(logits);
        self.top1.add(logits, label);
        self.top5.add(logits, label);
        self.confusion.add(label, answer);
        answer
    }

    /// Fraction of images whose most probable class is right; `None` without images.
    pub fn top1(&self) -> Option<f64> {
        self.top1.accuracy()
    }

    /// Fraction of images with the right class among the five most probable; `None` without images.
    pub fn top5(&self) -> Option<f64> {
        self.top5.accuracy()
    }

    /// Number of images without a prediction.
    pub fn unanswered(&self) -> u64 {
        self.confusion.unanswered().iter().sum()
    }

    /// Counts by label and prediction.
    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// Counts by label and prediction.
    pub fn into_confusion(self) -> Confusion {
        self.confusion
    }
}
