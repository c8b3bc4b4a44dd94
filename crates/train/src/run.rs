//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use dyconv_data::{Batch, Broken, DataError, Dataset, Loader, LoaderOptions, Split, Transform};
use dyconv_file::{FileError, Model, Provenance, Task};
use dyconv_metrics::TopK;
use dyconv_nn::{Network, NetworkError, Value};

use crate::schedule::{learning_rate, temperature};
use crate::{Recipe, Setup, World};

/// Batches that are made ready ahead of the loop.
const PREFETCH: usize = 4;

/// What an observer of a run is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// An iteration is done.
    Step(&'a Step),
    /// An epoch is done and the model file is written.
    Epoch(&'a Epoch),
    /// An image cannot be read and is skipped from now on.
    Broken(&'a Broken),
}

/// One iteration.
#[derive(Debug, Clone)]
pub struct Step {
    /// Iteration, from 1, of the whole run.
    pub number: usize,
    /// Iterations of the whole run.
    pub total: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean cross-entropy of the batch.
    pub loss: f32,
    /// Learning rate.
    pub lr: f64,
    /// Temperature τ.
    pub tau: f32,
}

/// One pass over the training images and its evaluation.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Epoch, from 1.
    pub number: usize,
    /// Mean loss over its iterations.
    pub loss: f32,
    /// Top-1 accuracy on the held-out images, 0 to 1; `None` if there are none.
    pub accuracy: Option<f64>,
    /// Learning rate of its last iteration.
    pub lr: f64,
    /// Temperature τ that the model file holds.
    pub tau: f32,
    /// Training images per second.
    pub images_per_second: f64,
    /// Share of the training time in which the loop waited for images, 0 to 1.
    pub waited: f64,
}

/// A finished run.
#[derive(Debug)]
pub struct Trained {
    /// The model as it stands in the file.
    pub model: Model,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
}

/// A run that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// No image to train on.
    #[error("the training part holds {images} images, fewer than one batch of {batch}; set train.batch lower")]
    TooFew {
        /// Images.
        images: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// The processes cannot work together.
    #[error("{0}")]
    World(String),
    /// Every image of an epoch is broken.
    #[error("no image of epoch {0} could be read")]
    NothingRead(usize),
    /// The loss is NaN or infinite.
    #[error(
        "the loss is {loss} at iteration {step} (epoch {epoch}): training diverged; try a lower train.lr or a longer \
         train.warmup_epochs. The model file holds the last whole epoch: {}",
        kept(path)
    )]
    Diverged {
        /// The loss.
        loss: f32,
        /// Iteration, from 1.
        step: usize,
        /// Epoch, from 1.
        epoch: usize,
        /// The model file, if an epoch was written.
        path: Option<PathBuf>,
    },
}

fn kept(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or("none was finished".into(), |p| p.display().to_string())
}

/// Trains a network and writes the model file `path` after every epoch. Of several processes the leading one writes and
/// evaluates; `train.batch` is that of all together, and each random dropout is of its own.
///
/// The same recipe, data and number of processors give the same file, byte for byte.
///
/// # Errors
/// See [`TrainError`]. The model file of the last whole epoch stays.
pub fn train(
    recipe: &Recipe,
    dataset: &Arc<Dataset>,
    setup: &Setup,
    world: &World,
    path: &Path,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    let device = Device::flex();
    device.seed(recipe.seed.wrapping_add(world.rank() as u64));
    let t = &recipe.train;
    let images = dataset.len(Split::Train);
    let transform = Transform::new(setup.preprocessing.clone())?;
    let options = LoaderOptions {
        batch: t.batch,
        threads: threads(recipe),
        prefetch: PREFETCH,
        seed: recipe.seed,
        shuffle: true,
        drop_last: images >= t.batch,
        max_broken: recipe.data.max_broken,
        rank: world.rank(),
        world_size: world.size(),
    };
    let steps = options.batches(images);
    if world.size() > 1 && !options.drop_last {
        return Err(TrainError::TooFew { images, batch: t.batch });
    }
    if steps == 0 {
        return Err(TrainError::TooFew { images, batch: t.batch });
    }
    let momentum = MomentumConfig { momentum: t.momentum, dampening: 0.0, nesterov: t.nesterov };
    let mut optimizer = SgdConfig::new()
        .with_momentum((t.momentum > 0.0).then_some(momentum))
        .with_weight_decay((t.weight_decay > 0.0).then(|| WeightDecayConfig::new(t.weight_decay)))
        .init();
    let training = device.clone().autodiff();
    let smoothing = (t.label_smoothing > 0.0).then_some(t.label_smoothing);
    let cross_entropy = CrossEntropyLossConfig::new().with_smoothing(smoothing).init(&training);
    let mut network = Network::new(&setup.graph, &setup.weights, recipe.temperature.end, &training)?;
    let mut model = Model {
        graph: setup.graph.clone(),
        weights: setup.weights.clone(),
        tau: recipe.temperature.end,
        preprocessing: setup.preprocessing.clone(),
        task: Task::Classification { classes: dataset.classes().to_vec() },
        provenance: Provenance {
            producer: concat!("dyconv ", env!("CARGO_PKG_VERSION")).into(),
            model: recipe.model.name.clone(),
            recipe: recipe.to_toml(),
        },
    };
    let mut reported = std::collections::BTreeSet::new();
    let mut epochs: Vec<Epoch> = Vec::new();
    for epoch in 0..t.epochs {
        let started = Instant::now();
        let mut batches = Loader::epoch(dataset, Split::Train, &transform, Some(setup.augment), &options, epoch);
        let (mut losses, mut seen, mut lr) = (Vec::with_capacity(steps), 0, 0.0);
        for batch in batches.by_ref() {
            let mut batch = batch?;
            let step = epoch * steps + losses.len() + 1;
            let progress = (step - 1) as f64 / steps as f64;
            lr = learning_rate(t, progress);
            network.set_temperature(temperature(&recipe.temperature, progress))?;
            let share = share_of_batch(world, &batch)?;
            let loss = cross_entropy.forward(logits(&network, &mut batch, &training), labels(&batch, &training));
            let loss = if world.size() > 1 { loss.mul_scalar(share) } else { loss };
            let value = world.total(f64::from(loss.clone().into_scalar::<f32>())) as f32;
            if !value.is_finite() {
                let path = (!epochs.is_empty()).then(|| path.to_owned());
                return Err(TrainError::Diverged { loss: value, step, epoch: epoch + 1, path });
            }
            let mut gradients = GradientsParams::from_grads(loss.backward(), &network);
            world.add_up_gradients(&network, &mut gradients);
            network = optimizer.step(lr, network, gradients);
            losses.push(value);
            seen += batch.len();
            let tau = network.temperature();
            observe(Event::Step(&Step {
                number: step,
                total: t.epochs * steps,
                epoch: epoch + 1,
                loss: value,
                lr,
                tau,
            }));
        }
        for broken in batches.broken() {
            if reported.insert(broken.name.clone()) {
                observe(Event::Broken(broken));
            }
        }
        if losses.is_empty() {
            return Err(TrainError::NothingRead(epoch + 1));
        }
        let trained_for = started.elapsed();
        network.set_temperature(temperature(&recipe.temperature, (epoch + 1) as f64))?;
        model.weights = network.weights();
        model.tau = network.temperature();
        let mut accuracy = None;
        if world.leads() {
            model.write(path)?;
            accuracy = evaluate(recipe, dataset, &transform, &network, &mut |b| {
                if reported.insert(b.name.clone()) {
                    observe(Event::Broken(b));
                }
            })?;
        }
        epochs.push(Epoch {
            number: epoch + 1,
            loss: losses.iter().sum::<f32>() / losses.len() as f32,
            accuracy,
            lr,
            tau: model.tau,
            images_per_second: world.total(seen as f64) / trained_for.as_secs_f64().max(1e-9),
            waited: share(batches.waited(), trained_for),
        });
        observe(Event::Epoch(&epochs[epoch]));
    }
    Ok(Trained { model, epochs })
}

/// This process's share of the images of a batch.
fn share_of_batch(world: &World, batch: &Batch) -> Result<f64, TrainError> {
    let all = world.total(batch.len() as f64);
    if batch.is_empty() {
        let message =
            format!("process {} can read no image of its part of a batch; set train.batch higher", world.rank());
        return Err(TrainError::World(message));
    }
    Ok(batch.len() as f64 / all)
}

fn threads(recipe: &Recipe) -> usize {
    match recipe.data.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64().max(1e-9)
}

/// Runs a batch; its images move into the network's input.
fn logits(network: &Network, batch: &mut Batch, device: &Device) -> Tensor<2> {
    let data = TensorData::new(std::mem::take(&mut batch.images), batch.shape());
    match network.forward(Tensor::from_data(data, device)) {
        Value::Vector(logits) => logits,
        Value::Map(_) => unreachable!("a classifier answers with a vector"),
    }
}

fn labels(batch: &Batch, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = batch.labels.iter().map(|l| *l as i64).collect();
    Tensor::from_data(TensorData::new(labels, [batch.len()]), device)
}

/// Top-1 accuracy on the held-out images.
fn evaluate(
    recipe: &Recipe,
    dataset: &Arc<Dataset>,
    transform: &Transform,
    network: &Network,
    broken: &mut dyn FnMut(&Broken),
) -> Result<Option<f64>, TrainError> {
    if dataset.is_empty(Split::Val) {
        return Ok(None);
    }
    let device = Device::flex();
    let network = network.valid();
    let options = LoaderOptions {
        batch: recipe.train.batch,
        threads: threads(recipe),
        prefetch: PREFETCH,
        max_broken: recipe.data.max_broken,
        ..LoaderOptions::default()
    };
    let mut top = TopK::new(1);
    let mut batches = Loader::epoch(dataset, Split::Val, transform, None, &options, 0);
    for batch in &mut batches {
        let mut batch = batch?;
        let rows = Value::Vector(logits(&network, &mut batch, &device)).into_vec();
        for (row, label) in rows.chunks_exact(dataset.classes().len()).zip(&batch.labels) {
            top.add(row, *label);
        }
    }
    batches.broken().iter().for_each(broken);
    Ok(Some(top.accuracy()))
}
