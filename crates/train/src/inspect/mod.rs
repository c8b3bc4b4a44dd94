//! Measures the value of a trained dynamic network's attention: accuracy with the attention replaced, and statistics of
//! the routers by layer, class and image (the paper's §7.1).
//!
//! ```text
//! first pass:   normal attention -> accuracy; entropy, usage and mean of every layer; entropy by class; examples
//! second pass:  for every batch, for every replacement: replaced attention -> accuracy
//! ```

mod page;
mod replacement;

use std::collections::BTreeSet;
use std::sync::Arc;

use burn::tensor::Device;
use dyconv_data::{Batch, Broken, Dataset, Loader, LoaderOptions, Split, Transform};
use dyconv_file::Model;
use dyconv_metrics::{TopK, answer, softmax};
use dyconv_nn::{Network, Value};
use serde::Serialize;

use crate::attention::LayerAttentionStats;
use crate::attention::{AttentionMeter, entropy};
use crate::error::TrainError;
use crate::learner::input;
use replacement::{Probe, Router, routers};
pub use replacement::{REPLACEMENTS, Replacement};

/// Number of images that are shown with their attention.
const EXAMPLES: usize = 8;
/// Replacements that are applied to the layers of one input size at a time.
const BY_SIZE: [Replacement; 2] = [Replacement::Uniform, Replacement::AnotherImage];

/// Options for reading a data set for an inspection.
#[derive(Debug, Clone, Copy)]
pub struct InspectOptions {
    /// The part of the data set.
    pub split: Split,
    /// Largest number of images; they are drawn by the seed.
    pub limit: Option<usize>,
    /// Images per batch; has no effect on the results, except for rounding.
    pub batch: usize,
    /// Seed of the order of images and of permutations.
    pub seed: u64,
    /// Number of broken images that are skipped before it is an error.
    pub max_broken: usize,
    /// Largest image that is read, in pixels.
    pub max_pixels: usize,
}

/// Results of an inspection.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Number of images.
    pub images: usize,
    /// By replacement, in the order of [`REPLACEMENTS`].
    pub scores: Vec<Score>,
    /// By input size of the layers, largest first.
    pub sizes: Vec<SizeScores>,
    /// Every dynamic layer in execution order.
    pub layers: Vec<Layer>,
    /// Names of the model's classes that occur in these images.
    pub classes: Vec<String>,
    /// Problems of the routers, as text.
    pub warnings: Vec<String>,
    /// Some images with their attention.
    pub examples: Vec<Example>,
    /// Images that could not be read.
    #[serde(skip)]
    pub broken: Vec<Broken>,
}

/// Accuracy with a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Replacement of the attention in every layer, or in the layers of one input size.
    pub replacement: Replacement,
    /// Fraction of images whose most probable class is right.
    pub top1: f64,
    /// Fraction of images with the right class among the five most probable.
    pub top5: f64,
}

/// Layers whose input has the same size.
#[derive(Debug, Clone, Serialize)]
pub struct SizeScores {
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Number of dynamic layers with this input size.
    pub layers: usize,
    /// Mean entropy of their attention in nats.
    pub entropy_nats: f64,
    /// The same as a fraction of ln K.
    pub entropy: f64,
    /// Accuracy if only the attention of these layers is replaced.
    pub scores: Vec<Score>,
}

/// A dynamic layer.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// Height and width of its input.
    pub size: [usize; 2],
    /// Statistics of its router over all images.
    #[serde(flatten)]
    pub attention: LayerAttentionStats,
    /// Mean entropy as a fraction of ln K, by class in the order of [`Inspection::classes`].
    pub entropy_by_class: Vec<f64>,
}

/// An image and its attention.
#[derive(Debug, Clone, Serialize)]
pub struct Example {
    /// Name of the image.
    pub image: String,
    /// Its index within the part.
    pub index: usize,
    /// Its class.
    pub label: String,
    /// The predicted class.
    pub answer: String,
    /// Probability of the predicted class.
    pub probability: f32,
    /// Coefficients by dynamic layer.
    pub attention: Vec<Vec<f32>>,
}

/// Why a network's attention cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// No layer has attention.
    #[error("the network ({0}) is static: it has no attention to inspect")]
    Static(String),
    /// The part is empty.
    #[error("the part of the data to inspect holds no images that can be read; name another split")]
    NoImages,
    /// The data or the network.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Inspects the attention of a dynamic classifier. `labels` maps classes of the data set to classes of the model;
/// `progress` is called with the number of completed forward passes (one per image) and their total.
///
/// # Errors
/// See [`InspectError`].
///
/// # Panics
/// If `labels` has not one entry per class of the data set, or an entry is not a class of the model.
pub fn inspect(
    model: &Model,
    dataset: &Arc<Dataset>,
    labels: &[usize],
    options: &InspectOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Inspection, InspectError> {
    assert_eq!(labels.len(), dataset.classes().len(), "a class of the model for each of the data");
    let routers = routers(&model.graph);
    if routers.is_empty() {
        return Err(InspectError::Static(model.provenance.model.clone()));
    }
    let device = Device::flex();
    let network = Network::new(&model.graph, &model.weights, model.tau, &device).map_err(TrainError::from)?;
    let reader = Reader { model, dataset, labels, options };
    let mut sizes: Vec<[usize; 2]> = Vec::new();
    routers.iter().for_each(|r| {
        if !sizes.contains(&r.size) {
            sizes.push(r.size)
        }
    });
    let passes = REPLACEMENTS.len() + BY_SIZE.len() * sizes.len();
    let images = options.limit.unwrap_or(usize::MAX).min(dataset.len(options.split));
    let mut done = 0;
    let mut progress = |more: usize| {
        done += more;
        progress(done, images * passes);
    };

    let mut normal = Normal::new(&reader, &routers);
    let broken = reader.read(&mut |batch, labels| {
        normal.add(&network, batch, labels);
        progress(batch.len());
    })?;
    let normal = normal.finish().ok_or(InspectError::NoImages)?;

    let probe = |replacement, size| {
        let probe = Probe::new(replacement, size, options.seed, &routers, &normal.means, &normal.last);
        (probe, [TopK::new(1), TopK::new(5)])
    };
    let everywhere = REPLACEMENTS.into_iter().skip(1).map(|replacement| probe(replacement, None));
    let by_size = sizes.iter().flat_map(|size| BY_SIZE.map(|replacement| probe(replacement, Some(*size))));
    let mut probes: Vec<(Probe, [TopK; 2])> = everywhere.chain(by_size).collect();
    reader.read(&mut |batch, labels| {
        for (probe, counts) in &mut probes {
            let answers = probe.run(&network, input(batch, 0..batch.len(), &device), &batch.indices);
            count(counts, &answers, labels);
            progress(batch.len());
        }
    })?;
    // Images may have disappeared when they are read again.
    let score = |replacement, [top1, top5]: [TopK; 2]| match (top1.accuracy(), top5.accuracy()) {
        (Some(top1), Some(top5)) => Ok(Score { replacement, top1, top5 }),
        _ => Err(InspectError::NoImages),
    };
    let of = |size: Option<[usize; 2]>| -> Result<Vec<Score>, InspectError> {
        probes.iter().filter(|(p, _)| p.size == size).map(|(p, counts)| score(p.replacement, *counts)).collect()
    };
    let mut scores = vec![score(Replacement::Normal, normal.counts)?];
    scores.extend(of(None)?);
    let sizes = sizes.iter().map(|size| {
        let layers: Vec<&Layer> = normal.layers.iter().filter(|l| l.size == *size).collect();
        let mean = |value: fn(&Layer) -> f64| layers.iter().map(|l| value(l)).sum::<f64>() / layers.len() as f64;
        Ok(SizeScores {
            size: *size,
            layers: layers.len(),
            entropy_nats: mean(|l| l.attention.entropy * (l.attention.usage.len() as f64).ln()),
            entropy: mean(|l| l.attention.entropy),
            scores: of(Some(*size))?,
        })
    });
    Ok(Inspection {
        images: normal.images,
        scores,
        sizes: sizes.collect::<Result<_, InspectError>>()?,
        classes: normal.classes,
        warnings: normal.warnings,
        examples: normal.examples,
        layers: normal.layers,
        broken,
    })
}

/// Counts the predictions of a batch.
fn count(counts: &mut [TopK; 2], answers: &[f32], labels: &[usize]) {
    for (row, label) in answers.chunks_exact(answers.len() / labels.len()).zip(labels) {
        for count in counts.iter_mut() {
            count.add(row, *label);
        }
    }
}

/// Reads the images, any number of times, in the same order.
struct Reader<'a> {
    model: &'a Model,
    dataset: &'a Arc<Dataset>,
    labels: &'a [usize],
    options: &'a InspectOptions,
}

impl Reader<'_> {
    /// Passes each batch with the model's classes to `each`.
    fn read(&self, each: &mut dyn FnMut(&Batch, &[usize])) -> Result<Vec<Broken>, TrainError> {
        let InspectOptions { split, limit, batch, seed, max_broken, max_pixels } = *self.options;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let loader = LoaderOptions { batch, threads, seed, shuffle: true, max_broken, ..LoaderOptions::default() };
        let transform = Transform::new(self.model.preprocessing.clone())?.with_max_pixels(max_pixels);
        let mut left = limit.unwrap_or(usize::MAX);
        let mut batches = Loader::epoch(self.dataset, split, &transform, None, &loader, 0);
        while left > 0
            && let Some(batch) = batches.next()
        {
            let batch = first(batch?, left);
            left -= batch.len();
            let labels = batch.classes().labels.iter().take(batch.len());
            let labels: Vec<usize> = labels.map(|label| self.labels[*label]).collect();
            each(&batch, &labels);
        }
        Ok(batches.broken().to_vec())
    }
}

/// The first images of a batch; the targets are unchanged.
fn first(mut batch: Batch, most: usize) -> Batch {
    if most < batch.len() {
        batch.images.truncate(most * batch.input.iter().product::<usize>());
        batch.indices.truncate(most);
    }
    batch
}

/// The first pass.
struct Normal<'a> {
    reader: &'a Reader<'a>,
    routers: &'a [Router],
    meter: AttentionMeter,
    counts: [TopK; 2],
    /// By class of the model: number of images, and the sum of the entropies by layer.
    classes: Vec<(usize, Vec<f64>)>,
    /// Coefficients of the latest image by layer.
    last: Vec<Vec<f32>>,
    examples: Vec<Example>,
    images: usize,
}

/// Results of the first pass.
struct Found {
    images: usize,
    counts: [TopK; 2],
    layers: Vec<Layer>,
    classes: Vec<String>,
    warnings: Vec<String>,
    examples: Vec<Example>,
    /// Mean coefficients by layer.
    means: Vec<Vec<f32>>,
    /// Coefficients of the last image by layer.
    last: Vec<Vec<f32>>,
}

impl<'a> Normal<'a> {
    fn new(reader: &'a Reader<'a>, routers: &'a [Router]) -> Self {
        Self {
            reader,
            routers,
            meter: AttentionMeter::new(&reader.model.graph),
            counts: [TopK::new(1), TopK::new(5)],
            classes: vec![(0, vec![0.0; routers.len()]); reader.model.classes().len()],
            last: Vec::new(),
            examples: Vec::new(),
            images: 0,
        }
    }

    fn add(&mut self, network: &Network, batch: &Batch, labels: &[usize]) {
        // By layer, image by image.
        let mut coefficients: Vec<Vec<f32>> = vec![Vec::new(); self.routers.len()];
        let images = input(batch, 0..batch.len(), &Device::flex());
        let answers = network.forward_all(images, |node, value: &Value| {
            self.meter.visit(node, value);
            for (to, _) in coefficients.iter_mut().zip(self.routers).filter(|(_, r)| r.name == node.name) {
                *to = value.clone().into_vec();
            }
        });
        self.meter.passed(batch.len());
        let answers = answers.into_vec();
        count(&mut self.counts, &answers, labels);
        let of_image = |i: usize| -> Vec<&[f32]> {
            coefficients.iter().zip(self.routers).map(|(all, r)| &all[i * r.kernels..][..r.kernels]).collect()
        };
        for (i, label) in labels.iter().enumerate() {
            let attention = of_image(i);
            let (images, sums) = &mut self.classes[*label];
            *images += 1;
            sums.iter_mut().zip(&attention).for_each(|(sum, pi)| *sum += entropy(pi));
            // One image per class, as long as there is room.
            if *images == 1 && self.examples.len() < EXAMPLES {
                let row = &answers[i * self.classes.len()..][..self.classes.len()];
                self.examples.extend(self.reader.example(batch.indices[i], *label, row, &attention));
            }
        }
        self.images += batch.len();
        self.last = of_image(batch.len() - 1).into_iter().map(<[f32]>::to_vec).collect();
    }

    fn finish(self) -> Option<Found> {
        let means = self.meter.means();
        let stats = self.meter.finish()?;
        let warnings = stats.warnings(true, &mut BTreeSet::new());
        let names = self.reader.model.classes();
        let seen = || self.classes.iter().zip(names).filter(|((images, _), _)| *images > 0);
        let layers = stats.layers.into_iter().zip(self.routers).enumerate().map(|(i, (attention, router))| Layer {
            size: router.size,
            attention,
            entropy_by_class: seen().map(|((images, sums), _)| sums[i] / *images as f64).collect(),
        });
        Some(Found {
            images: self.images,
            counts: self.counts,
            layers: layers.collect(),
            classes: seen().map(|(_, name)| name.clone()).collect(),
            warnings,
            examples: self.examples,
            means,
            last: self.last,
        })
    }
}

impl Reader<'_> {
    /// An image with its prediction, if it has one.
    fn example(&self, index: usize, label: usize, answers: &[f32], attention: &[&[f32]]) -> Option<Example> {
        let names = self.model.classes();
        let answer = answer(answers)?;
        Some(Example {
            image: self.dataset.item(self.options.split, index).1,
            index,
            label: names[label].clone(),
            answer: names[answer].clone(),
            probability: softmax(answers)[answer],
            attention: attention.iter().map(|pi| pi.to_vec()).collect(),
        })
    }
}
