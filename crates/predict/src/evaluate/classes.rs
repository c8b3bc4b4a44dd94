//! Scoring a classifier on a data set.

use std::collections::HashMap;
use std::sync::Arc;

use dyconv_data::{Broken, Dataset, Loader, LoaderOptions, Split};
use dyconv_metrics::{ClassMeter, Confusion};

use crate::classifier::Classifier;
use crate::error::Error;

/// Options for reading a data set for scoring.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationOptions {
    /// The part to score.
    pub split: Split,
    /// Batch size in images.
    pub batch: usize,
    /// Number of broken images that are skipped before an error is returned.
    pub max_broken: usize,
}

/// Scores of a classifier on at least one image. An image without an answer
/// ([`metrics::answer`](fn@dyconv_metrics::answer)) counts as wrong.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Fraction of images whose most probable class is correct.
    pub top1: f64,
    /// Fraction of images whose correct class is among the five most probable.
    pub top5: f64,
    /// Label by prediction, in the order of the model's classes.
    pub confusion: Confusion,
    /// Number of images without an answer: the network's output has a NaN.
    pub unanswered: u64,
    /// Images that could not be read.
    pub broken: Vec<Broken>,
}

/// Scores a classifier; `progress` is called with the number of images done. Classes are matched by name.
///
/// # Errors
/// If the data set has a class that the model does not know, no images, too many broken ones, or only broken ones.
pub fn evaluate(
    classifier: &Classifier,
    dataset: &Arc<Dataset>,
    options: &EvaluationOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, Error> {
    let labels = match_classes(classifier.classes(), dataset)?;
    if dataset.is_empty(options.split) {
        return Err(Error::NothingToScore);
    }
    let classes = classifier.classes().len();
    let mut meter = ClassMeter::new(classes);
    let loader = LoaderOptions {
        batch: options.batch,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        max_broken: options.max_broken,
        ..LoaderOptions::default()
    };
    let mut batches = Loader::epoch(dataset, options.split, &classifier.network.transform, None, &loader, 0);
    let mut done = 0;
    for batch in &mut batches {
        let batch = batch?;
        let logits = classifier.logits(&batch.images, batch.len())?;
        for (row, label) in logits.chunks_exact(classes).zip(&batch.classes().labels) {
            meter.add(row, labels[*label]);
        }
        done += batch.len();
        progress(done);
    }
    let broken = batches.broken().to_vec();
    let (Some(top1), Some(top5)) = (meter.top1(), meter.top5()) else {
        let first = broken.first().map_or_else(String::new, |image| image.reason.clone());
        return Err(Error::NothingRead { images: broken.len(), first });
    };
    let unanswered = meter.unanswered();
    Ok(Evaluation { top1, top5, confusion: meter.into_confusion(), unanswered, broken })
}

/// The model's class index for each class of the data set, matched by name.
///
/// # Errors
/// The first class that the model does not know.
pub fn match_classes(model: &[String], dataset: &Dataset) -> Result<Vec<usize>, Error> {
    let mut indices = HashMap::with_capacity(model.len());
    for (index, class) in model.iter().enumerate() {
        indices.entry(class).or_insert(index);
    }
    let find = |class: &String| {
        indices.get(class).copied().ok_or_else(|| {
            let known: Vec<&str> = model.iter().take(5).map(String::as_str).collect();
            let more = if model.len() > 5 { ", …" } else { "" };
            Error::UnknownClass { class: class.clone(), known: known.join(", ") + more }
        })
    };
    dataset.classes().iter().map(find).collect()
}
