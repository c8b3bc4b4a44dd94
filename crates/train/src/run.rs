//! The training loop.
//!
//! ```text
//! state ← newest checkpoint, or the first weights
//! while epochs remain:
//!     for each batch from where the epoch stands:  τ, learning rate ← progress;  forward, backward, step
//!         save every few minutes; when asked to stop: save, stop
//!     evaluate; the best network becomes the model file; save
//! ```
//!
//! Everything random depends on the seed and on how many iterations are done, and a checkpoint holds everything else, so
//! a run that is resumed goes on bit by bit as if it had never stopped.
//!
//! Of several processes ([`World`]) all hold the same network and take the same steps; the leading one alone evaluates and writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use dyconv_data::{Batch, Broken, Dataset, Loader, LoaderOptions, Split, Transform};
use dyconv_file::{Model, Provenance, Task};
use dyconv_graph::{Tensor as Stored, Weights};
use dyconv_nn::{Network, Value};

use crate::checkpoint::{Best, Checkpoint, State, Tensors};
use crate::evaluate::{Evaluation, evaluate};
use crate::folder::{EVALUATION, LAST, RunFolder, same_recipe};
use crate::journal::{Epoch, Journal, Line, Step, Timing, unix};
use crate::optimizer::Optimizer;
use crate::schedule::{learning_rate, temperature};
use crate::{Recipe, Setup, TrainError, World, fault, report};

/// Batches that are made ready ahead of the loop.
const PREFETCH: usize = 4;

/// What an observer of a run is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many iterations of a run were done before.
    Resumed {
        /// Iterations done.
        step: usize,
        /// Iterations of the whole run.
        total: usize,
    },
    /// An iteration is done.
    Step {
        /// Its numbers.
        step: &'a Step,
        /// Iterations of the whole run.
        total: usize,
    },
    /// An epoch is done and everything is written.
    Epoch(&'a Epoch),
    /// An image cannot be read and is skipped from now on.
    Broken(&'a Broken),
    /// Something that a person should know.
    Warning(String),
}

/// A finished run.
#[derive(Debug)]
pub struct Trained {
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// The one whose network stands in the model file.
    pub best: Best,
}

/// Trains in a run folder until all epochs are done, from where the folder's checkpoint stands.
///
/// The same recipe and data give the same files, byte for byte, times aside, however often the run was killed and
/// resumed. With `stop` set the iteration is finished, everything is saved, and [`TrainError::Interrupted`] returned.
///
/// Of several processes each calls it; `train.batch` is that of all together, and each draws its own dropout.
///
/// # Errors
/// See [`TrainError`]. The newest checkpoint stays whole.
pub fn train(
    world: &World,
    folder: &RunFolder,
    dataset: &Arc<Dataset>,
    setup: &Setup,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    folder.check_data(dataset)?;
    let mut run = Run::open(world, folder, dataset, setup, stop, observe)?;
    while run.state.epoch < folder.recipe().train.epochs {
        run.epoch(observe)?;
    }
    let best = run.state.best.ok_or(TrainError::NothingRead(0))?;
    Ok(Trained { epochs: run.epochs, best })
}

/// A run between two iterations.
struct Run<'a> {
    world: &'a World,
    folder: &'a RunFolder,
    recipe: &'a Recipe,
    dataset: &'a Arc<Dataset>,
    setup: &'a Setup,
    stop: &'a AtomicBool,
    transform: Transform,
    loader: LoaderOptions,
    /// Batches of an epoch.
    batches: usize,
    device: Device,
    criterion: CrossEntropyLoss,
    network: Network,
    optimizer: Optimizer,
    state: State,
    /// Losses of the running epoch.
    losses: Vec<f32>,
    epochs: Vec<Epoch>,
    /// Of the leading process.
    journal: Option<Journal>,
    /// Time and iteration of the newest checkpoint.
    saved: (Instant, usize),
    /// Broken images that were told of.
    told: BTreeSet<String>,
}

impl<'a> Run<'a> {
    fn open(
        world: &'a World,
        folder: &'a RunFolder,
        dataset: &'a Arc<Dataset>,
        setup: &'a Setup,
        stop: &'a AtomicBool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        let recipe = folder.recipe();
        let images = dataset.len(Split::Train);
        let loader = LoaderOptions {
            batch: recipe.train.batch,
            threads: threads(recipe),
            prefetch: PREFETCH,
            seed: recipe.seed,
            shuffle: true,
            drop_last: images >= recipe.train.batch,
            max_broken: recipe.data.max_broken,
            rank: world.rank(),
            world_size: world.size(),
        };
        let batches = loader.batches(images);
        if batches == 0 || world.size() > 1 && !loader.drop_last {
            return Err(TrainError::TooFew { images, batch: recipe.train.batch });
        }
        let written = std::fs::metadata(folder.file(crate::folder::JOURNAL)).map_or(0, |m| m.len());
        let usable = |state: &State| match state.journal <= written {
            true => Ok(()),
            false => Err(format!("knows {} bytes of metrics, of which {written} are left", state.journal)),
        };
        let last = folder.file(LAST);
        let mut fresh = false;
        let mut checkpoint = world.share_with_all(
            || {
                let found = Checkpoint::newest(&last, usable, &mut |text| observe(Event::Warning(text)))?;
                fresh = found.is_none();
                let first = || Checkpoint::new(State::first(recipe.to_toml())).with("model", setup.weights.0.clone());
                Ok::<_, TrainError>(found.unwrap_or_else(first))
            },
            Checkpoint::to_bytes,
            |bytes| Checkpoint::from_bytes(bytes).expect("what the leading process wrote"),
        )?;
        let begun = Recipe::resolve(None, Some(&checkpoint.state.recipe), &[])
            .map_err(|source| TrainError::Recipe { path: last.clone(), source })?;
        same_recipe(&last, &begun, recipe)?;
        let device = Device::flex().autodiff();
        let weights = Weights(checkpoint.take("model"));
        let network = Network::new(&setup.graph, &weights, recipe.temperature.end, &device)?;
        let mut optimizer = Optimizer::new(&recipe.train);
        optimizer.load(&network, checkpoint.take("optimizer"));
        let losses = checkpoint.take("epoch").remove("losses").map_or(Vec::new(), |t| t.data);
        let opened = if world.leads() { Some(Journal::open(folder, checkpoint.state.journal)?) } else { None };
        let (journal, lines) = opened.map_or((None, Vec::new()), |(journal, lines)| (Some(journal), lines));
        let epochs = lines.into_iter().filter_map(|line| match line {
            Line::Epoch(epoch) => Some(epoch),
            Line::Step(_) => None,
        });
        let smoothing = (recipe.train.label_smoothing > 0.0).then_some(recipe.train.label_smoothing);
        let mut run = Self {
            world,
            folder,
            recipe,
            dataset,
            setup,
            stop,
            transform: Transform::new(setup.preprocessing.clone())?,
            loader,
            batches,
            criterion: CrossEntropyLossConfig::new().with_smoothing(smoothing).init(&device),
            device,
            network,
            optimizer,
            state: checkpoint.state,
            losses,
            epochs: epochs.collect(),
            journal,
            saved: (Instant::now(), 0),
            told: BTreeSet::new(),
        };
        run.saved.1 = run.step();
        if fresh {
            run.save()?;
        } else {
            observe(Event::Resumed { step: run.step(), total: run.total() });
        }
        Ok(run)
    }

    /// Iterations done.
    fn step(&self) -> usize {
        self.state.epoch * self.batches + self.state.batch
    }

    /// Iterations of the whole run.
    fn total(&self) -> usize {
        self.recipe.train.epochs * self.batches
    }

    /// Finishes the running epoch.
    fn epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let (started, mut seen, mut lr) = (Instant::now(), 0, self.learning_rate());
        let (epoch, dataset) = (self.state.epoch, self.dataset);
        let loader =
            Loader::epoch(dataset, Split::Train, &self.transform, Some(self.setup.augment), &self.loader, epoch);
        let mut loader = loader.starting_at(self.state.batch);
        let processes = self.world.size();
        let timing = |seen: usize, waited: Duration| {
            let seconds = started.elapsed().as_secs_f64().max(1e-9);
            Timing {
                unix: unix(),
                images_per_second: (seen * processes) as f64 / seconds,
                waited: waited.as_secs_f64() / seconds,
            }
        };
        while let Some(batch) = loader.next() {
            let batch = batch?;
            seen += batch.len();
            // A batch without a readable image was passed over; it counts as done.
            self.state.batch = batch.number;
            lr = self.learning_rate();
            self.iterate(batch, lr)?;
            self.state.batch += 1;
            let step = Step {
                step: self.step(),
                epoch: epoch + 1,
                loss: mean(&self.losses[self.losses.len().saturating_sub(self.recipe.train.log_steps)..]),
                lr,
                tau: self.network.temperature(),
                time: timing(seen, loader.waited()),
            };
            observe(Event::Step { step: &step, total: self.total() });
            if step.step.is_multiple_of(self.recipe.train.log_steps) {
                self.note(Line::Step(step))?;
            }
            if self.is_stopped() {
                return self.interrupt();
            }
            if self.is_time_to_save() {
                self.save()?;
            }
        }
        self.state.batch = self.batches;
        self.tell(loader.broken(), observe);
        if self.losses.is_empty() {
            return Err(TrainError::NothingRead(epoch + 1));
        }
        let time = timing(seen, loader.waited());
        drop(loader);
        self.network.set_temperature(temperature(&self.recipe.temperature, (epoch + 1) as f64))?;
        let Some(evaluation) = self.evaluate(observe)? else { return self.interrupt() };
        let accuracy = evaluation.as_ref().map(|e| e.accuracy);
        let line = Epoch {
            step: self.step(),
            epoch: epoch + 1,
            loss: mean(&self.losses),
            accuracy,
            lr,
            tau: self.network.temperature(),
            time,
        };
        let best = Best { epoch: epoch + 1, accuracy };
        if self.state.best.is_none_or(|old| old.accuracy <= accuracy) {
            self.written(|run| run.keep(evaluation.as_ref()))?;
            self.state.best = Some(best);
        }
        self.note(Line::Epoch(line.clone()))?;
        self.epochs.push(line);
        (self.state.epoch, self.state.batch) = (epoch + 1, 0);
        self.losses.clear();
        self.save()?;
        if self.world.leads() {
            self.written(|run| report::write(run.folder, run.dataset, &run.epochs, &run.setup.graph))?;
        }
        observe(Event::Epoch(&self.epochs[epoch]));
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        learning_rate(&self.recipe.train, self.progress())
    }

    /// Epochs done.
    fn progress(&self) -> f64 {
        self.step() as f64 / self.batches as f64
    }

    /// Forward, backward, step.
    fn iterate(&mut self, mut batch: Batch, lr: f64) -> Result<(), TrainError> {
        self.network.set_temperature(temperature(&self.recipe.temperature, self.progress()))?;
        // Dropout draws from the device: a stream for each iteration, so that there is nothing to save.
        let world = self.world;
        self.device.seed(stream(self.recipe.seed, self.step() * world.size() + world.rank()));
        let labels = labels(&batch, &self.device);
        let images = input(&mut batch, &self.device);
        let share = share_of_batch(world, images.dims()[0])?;
        let mut loss = self.criterion.forward(vector(self.network.forward(images.clone())), labels);
        if world.size() > 1 {
            loss = loss.mul_scalar(share);
        }
        let value = world.total(f64::from(loss.clone().into_scalar::<f32>())) as f32;
        if !value.is_finite() {
            let origin = fault::origin(&self.network, images);
            return Err(self.diverged(format!("the loss is {value}"), origin));
        }
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        world.add_up_gradients(&self.network, &mut gradients);
        if let Some(origin) = fault::gradients(&self.network, &gradients) {
            return Err(self.diverged("a gradient is not finite".into(), origin));
        }
        self.network = self.optimizer.step(lr, self.network.clone(), gradients);
        self.losses.push(value);
        Ok(())
    }

    fn diverged(&self, what: String, origin: String) -> TrainError {
        let kept = match self.state.best {
            Some(best) => format!("{} holds the best network, of epoch {}", self.folder.model().display(), best.epoch),
            None => "No epoch was finished".into(),
        };
        TrainError::Diverged { what, origin, step: self.step() + 1, epoch: self.state.epoch + 1, kept }
    }

    /// Scores the network: `None` if asked to stop, `Some(None)` if there is nothing to score on.
    fn evaluate(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Option<Option<Evaluation>>, TrainError> {
        if self.dataset.is_empty(Split::Val) || !self.world.leads() {
            return Ok(if self.is_stopped() { None } else { Some(None) });
        }
        let options =
            LoaderOptions { shuffle: false, drop_last: false, seed: 0, rank: 0, world_size: 1, ..self.loader.clone() };
        let mut broken = Vec::new();
        let number = self.state.epoch + 1;
        let done = evaluate(self.dataset, &self.transform, &options, &self.network, number, self.stop, &mut |b| {
            broken.push(b.clone());
        })?;
        self.tell(&broken, observe);
        Ok(if self.is_stopped() { None } else { done.map(Some) })
    }

    fn tell(&mut self, broken: &[Broken], observe: &mut dyn FnMut(Event<'_>)) {
        for broken in broken {
            if self.told.insert(broken.name.clone()) {
                observe(Event::Broken(broken));
            }
        }
    }

    /// Whether any process was asked to stop; all agree on it.
    fn is_stopped(&self) -> bool {
        self.world.total(f64::from(u8::from(self.stop.load(Ordering::Relaxed)))) > 0.0
    }

    /// Adds a line to the metrics.
    fn note(&mut self, line: Line) -> Result<(), TrainError> {
        self.written(|run| run.journal.as_mut().map_or(Ok(()), |journal| journal.add(&line)))
    }

    /// Writes the network as the best.
    fn keep(&mut self, evaluation: Option<&Evaluation>) -> Result<(), TrainError> {
        if !self.world.leads() {
            return Ok(());
        }
        let model = Model {
            graph: self.setup.graph.clone(),
            weights: self.network.weights(),
            tau: self.network.temperature(),
            preprocessing: self.setup.preprocessing.clone(),
            task: Task::Classification { classes: self.dataset.classes().to_vec() },
            provenance: Provenance {
                producer: concat!("dyconv ", env!("CARGO_PKG_VERSION")).into(),
                model: self.recipe.model.name.clone(),
                recipe: self.recipe.to_toml(),
            },
        };
        model.write(&self.folder.model())?;
        evaluation.map_or(Ok(()), |e| e.write(&self.folder.file(EVALUATION)))
    }

    fn is_time_to_save(&self) -> bool {
        let t = &self.recipe.train;
        let steps = t.checkpoint_steps > 0 && self.step() - self.saved.1 >= t.checkpoint_steps;
        steps || self.saved.0.elapsed().as_secs_f64() >= 60.0 * t.checkpoint_minutes
    }

    /// Writes a checkpoint.
    fn save(&mut self) -> Result<(), TrainError> {
        let weights = self.network.weights();
        if let Some(origin) = fault::weights(&self.network, &weights) {
            return Err(self.diverged("a weight is not finite".into(), origin));
        }
        self.written(|run| {
            let Some(journal) = &mut run.journal else { return Ok(()) };
            journal.sync()?;
            run.state.journal = journal.bytes()?;
            let losses = Stored::new(&[run.losses.len()], run.losses.clone());
            let checkpoint = Checkpoint::new(run.state.clone())
                .with("model", weights.0)
                .with("optimizer", run.optimizer.state(&run.network))
                .with("epoch", Tensors::from([("losses".to_owned(), losses)]));
            let last = run.folder.file(LAST);
            checkpoint.write(&last).map(drop).map_err(|e| TrainError::write(&last, e))
        })?;
        self.saved = (Instant::now(), self.step());
        Ok(())
    }

    fn interrupt(&mut self) -> Result<(), TrainError> {
        self.save()?;
        Err(TrainError::Interrupted { step: self.step(), total: self.total(), resume: self.folder.resume().to_owned() })
    }

    /// Adds to an error of writing what is left and how to go on.
    fn written<T>(&mut self, write: impl FnOnce(&mut Self) -> Result<T, TrainError>) -> Result<T, TrainError> {
        write(self).map_err(|error| {
            let kept = format!(
                "The checkpoint of iteration {} is whole; once there is room, go on with: dyconv train --resume {}",
                self.saved.1,
                self.folder.resume().display()
            );
            match error {
                TrainError::Write { path, source, .. } => TrainError::Write { path, source, kept },
                TrainError::File(dyconv_file::FileError { path, problem: dyconv_file::Problem::Io { source, .. } }) => {
                    TrainError::Write { path, source, kept }
                }
                error => error,
            }
        })
    }
}

/// A seed for each iteration: SplitMix64.
fn stream(seed: u64, step: usize) -> u64 {
    let z = seed.wrapping_add((step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The share of a batch that this process's images are.
fn share_of_batch(world: &World, images: usize) -> Result<f64, TrainError> {
    let all = world.total(images as f64);
    if images == 0 {
        let rank = world.rank();
        return Err(TrainError::World(format!(
            "process {rank} can read no image of its part of a batch; raise train.batch"
        )));
    }
    Ok(images as f64 / all)
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

fn threads(recipe: &Recipe) -> usize {
    match recipe.data.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Moves a batch's images into a network's input.
fn input(batch: &mut Batch, device: &Device) -> Tensor<4> {
    let shape = batch.shape();
    Tensor::from_data(TensorData::new(std::mem::take(&mut batch.images), shape), device)
}

fn vector(value: Value) -> Tensor<2> {
    match value {
        Value::Vector(logits) => logits,
        Value::Map(_) => unreachable!("a classifier answers with a vector"),
    }
}

/// Runs a batch; its images move into the network's input.
pub(crate) fn logits(network: &Network, batch: &mut Batch, device: &Device) -> Tensor<2> {
    vector(network.forward(input(batch, device)))
}

fn labels(batch: &Batch, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = batch.labels.iter().map(|l| *l as i64).collect();
    Tensor::from_data(TensorData::new(labels, [batch.len()]), device)
}
