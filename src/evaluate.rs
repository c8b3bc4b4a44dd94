//! Scoring a classifier on a data set.

use std::sync::Arc;

use dyconv_data::{Broken, Dataset, Loader, LoaderOptions, Split};
use dyconv_metrics::{Confusion, TopK, top_k};

use crate::{Classifier, Error};

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

/// Scores of a classifier.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Share of images whose most probable class is right.
    pub top1: f64,
    /// Share of images with the right class among the five most probable.
    pub top5: f64,
    /// Label by prediction, in the order of the model's classes.
    pub confusion: Confusion,
    /// Images that could not be read.
    pub broken: Vec<Broken>,
}

/// Scores a classifier; `progress` is told how many images are done. Classes are matched by name.
///
/// # Errors
/// When the data set has a class that the model does not know, no images, or too many broken ones.
pub fn evaluate(
    classifier: &mut Classifier,
    dataset: &Arc<Dataset>,
    options: &EvaluationOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, Error> {
    let labels = match_classes(classifier.classes(), dataset)?;
    if dataset.is_empty(options.split) {
        return Err(Error::NothingToScore);
    }
    let classes = classifier.classes().len();
    let (mut top1, mut top5, mut confusion) = (TopK::new(1), TopK::new(5), Confusion::new(classes));
    let loader = LoaderOptions {
        batch: options.batch,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        max_broken: options.max_broken,
        ..LoaderOptions::default()
    };
    let mut batches = Loader::epoch(dataset, options.split, &classifier.transform, None, &loader, 0);
    let mut done = 0;
    for batch in &mut batches {
        let batch = batch?;
        let logits = classifier.session.predict(&batch.images, batch.len())?;
        for (row, label) in logits.chunks_exact(classes).zip(&batch.classes().labels) {
            let label = labels[*label];
            top1.add(row, label);
            top5.add(row, label);
            if let Some((predicted, _)) = top_k(row, 1).first() {
                confusion.add(label, *predicted);
            }
        }
        done += batch.len();
        progress(done);
    }
    let broken = batches.broken().to_vec();
    Ok(Evaluation { top1: top1.accuracy(), top5: top5.accuracy(), confusion, broken })
}

/// The model's index of each class of the data set, matched by name.
///
/// # Errors
/// The first class that the model does not know.
pub fn match_classes(model: &[String], dataset: &Dataset) -> Result<Vec<usize>, Error> {
    let find = |class: &String| {
        model.iter().position(|c| c == class).ok_or_else(|| {
            let known: Vec<&str> = model.iter().take(5).map(String::as_str).collect();
            let more = if model.len() > 5 { ", …" } else { "" };
            Error::UnknownClass { class: class.clone(), known: known.join(", ") + more }
        })
    };
    dataset.classes().iter().map(find).collect()
}
