//! Scoring a classifier on a data set.

use std::collections::HashMap;
use std::sync::Arc;

use dyconv_data::{Broken, Dataset, Loader, LoaderOptions, Split};
use dyconv_metrics::{ClassMeter, Confusion};

use crate::classifier::Classifier;
use crate::error::Error;

/// How a data set is read for scoring.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationOptions {
    /// Which part.
    pub split: Split,
    /// Images a batch.
    pub batch: usize,
    /// Broken images that are skipped before it is an error.
    pub max_broken: usize,
}

/// Scores of a classifier on one image or more. An image without an answer ([`metrics::answer`](fn@dyconv_metrics::answer))
/// counts as wrong.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Share of images whose most probable class is right.
    pub top1: f64,
    /// Share of images with the right class among the five most probable.
    pub top5: f64,
    /// Label by prediction, in the order of the model's classes.
    pub confusion: Confusion,
    /// Images without an answer: a NaN stands in the network's output.
    pub unanswered: u64,
    /// Images that could not be read.
    pub broken: Vec<Broken>,
}

/// Scores a classifier; `progress` is told how many images are done. Classes are matched by name.
///
/// # Errors
/// When the data set has a class that the model does not know, no images, too many broken ones or no others.
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

/// The model's index of each class of the data set, matched by name.
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
