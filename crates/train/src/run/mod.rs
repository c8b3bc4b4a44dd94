//! The training loop.
//!
//! ```text
//! state ← newest checkpoint, or the first weights
//! while epochs remain:
//!     for each remaining batch of the epoch:  τ, learning rate ← progress;  forward, backward, step
//!         save every few minutes; when asked to stop: save, stop
//!     evaluate; the best network becomes the model file; save
//! ```
//!
//! All randomness depends on the seed and the number of completed iterations, and a checkpoint holds everything else,
//! so a resumed run yields the same bits as one that was never stopped.

mod event;
#[cfg(test)]
mod keypoints_tests;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dyconv_data::{Batch, Broken, Dataset, LoaderOptions, Split, Transform};
use dyconv_file::{FileError, ModelFileErrorKind};
use dyconv_graph::{Tensor as Stored, WeightsError};
use dyconv_nn::Network;

use crate::checkpoint::{Best, Checkpoint, State, Tensors};
use crate::error::TrainError;
use crate::evaluate::{Evaluation, evaluate};
use crate::folder::RunFolder;
use crate::journal::{Epoch, Step, Timing, Validation, unix};
use crate::learner::{Learner, StepError};
use crate::non_finite::NonFinite;
use crate::recipe::{Recipe, TemperatureSchedule};
use crate::schedule::{learning_rate, temperature};
use crate::setup::Setup;
use crate::splitmix::stream;
use crate::world::World;
pub use event::Event;
use writer::RunWriter;

/// Number of batches to prefetch.
const PREFETCH: usize = 4;

/// A finished run.
#[derive(Debug)]
pub struct Trained {
    /// Every epoch; empty in processes other than the leader.
    pub epochs: Vec<Epoch>,
    /// The epoch whose network is in the model file.
    pub best: Best,
}

/// Trains until all epochs are done, resuming from the folder's newest checkpoint.
///
/// Of several processes, the leader has the folder, writes and evaluates; the others have none. `train.batch` is the
/// size of the whole batch, over all processes.
///
/// The same recipe and data give the same files, byte for byte except for times, however often the run was killed and
/// resumed. If `stop` is set, the current iteration is finished, everything is saved, and [`TrainError::Interrupted`]
/// is returned.
///
/// # Errors
/// See [`TrainError`]. The newest checkpoint stays intact.
pub fn train(
    recipe: &Recipe,
    folder: Option<&RunFolder>,
    dataset: &Arc<Dataset>,
    setup: &Setup,
    world: &World,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    let mut run = Run::open(recipe, folder, dataset, setup, world, stop, observe)?;
    while run.state.epoch < recipe.train.epochs {
        run.epoch(observe)?;
    }
    let best = run.state.best.ok_or(TrainError::NothingRead(0))?;
    Ok(Trained { epochs: run.writer.map_or(Vec::new(), |k| k.epochs), best })
}

/// A run between two iterations.
struct Run<'a> {
    recipe: &'a Recipe,
    dataset: &'a Arc<Dataset>,
    setup: &'a Setup,
    world: &'a World,
    stop: &'a AtomicBool,
    transform: Transform,
    loader: LoaderOptions,
    /// Number of batches in an epoch.
    batches: usize,
    learner: Learner<'a>,
    state: State,
    /// Losses of the current epoch.
    losses: Vec<f32>,
    /// The writer of the leading process.
    writer: Option<RunWriter<'a>>,
    /// What was already reported: broken images, warnings.
    reported: BTreeSet<String>,
}

impl<'a> Run<'a> {
    fn open(
        recipe: &'a Recipe,
        folder: Option<&'a RunFolder>,
        dataset: &'a Arc<Dataset>,
        setup: &'a Setup,
        world: &'a World,
        stop: &'a AtomicBool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, TrainError> {
        let loader = loader(recipe, dataset, world)?;
        let batches = loader.batches(dataset.len(Split::Train));
        let found = match folder {
            Some(folder) => {
                folder.check_data(dataset)?;
                let found = writer::newest(folder, observe)?;
                if let (None, Some(from)) = (&found, folder.lost_start()) {
                    return Err(TrainError::LostStart { path: folder.path().to_owned(), from: from.to_owned() });
                }
                found
            }
            None => None,
        };
        let resumed = world.any(found.is_some());
        let first = || Learner::first(Checkpoint::new(State::first(recipe.to_toml())), &setup.weights);
        let mut checkpoint = shared(found.unwrap_or_else(first), world)?;
        let learner = Learner::new(recipe, setup, world, &mut checkpoint)?;
        let losses = checkpoint.take("epoch").remove("losses").map_or(Vec::new(), |t| t.data);
        let writer = folder.map(|folder| RunWriter::open(folder, dataset, &checkpoint.state)).transpose()?;
        let mut run = Self {
            recipe,
            dataset,
            setup,
            world,
            stop,
            transform: Transform::new(setup.preprocessing.clone())?.with_max_pixels(recipe.data.max_pixels()),
            loader,
            batches,
            learner,
            state: checkpoint.state,
            losses,
            writer,
            reported: BTreeSet::new(),
        };
        if resumed {
            let step = run.step();
            run.writer.iter_mut().for_each(|k| k.resumed(step));
            // The run may have been killed between an epoch's checkpoint and its report.
            run.report()?;
            observe(Event::Resumed { step, total: run.total() });
        } else {
            run.save()?;
        }
        Ok(run)
    }

    /// Number of completed iterations.
    fn step(&self) -> usize {
        self.state.epoch * self.batches + self.state.batch
    }

    /// Number of iterations of the whole run.
    fn total(&self) -> usize {
        self.recipe.train.epochs * self.batches
    }

    /// Finishes the current epoch.
    fn epoch(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let (started, mut seen, mut lr) = (Instant::now(), 0.0, self.last_learning_rate());
        let (epoch, dataset, world) = (self.state.epoch, self.dataset, self.world);
        let loader = self.setup.objective.training(dataset, &self.transform, &self.loader, epoch);
        let mut loader = loader.starting_at(self.state.batch);
        let timing = |seen: f64, waited: Duration| {
            let seconds = started.elapsed().as_secs_f64().max(1e-9);
            Timing { unix: unix(), images_per_second: seen / seconds, waited: waited.as_secs_f64() / seconds }
        };
        while let Some(batch) = loader.next() {
            let batch = batch?;
            seen += world.total(batch.len() as f64);
            // A batch without a readable image was skipped; it counts as done.
            self.state.batch = batch.number;
            lr = self.learning_rate();
            self.iterate(&batch, lr)?;
            self.state.batch += 1;
            let step = Step {
                step: self.step(),
                epoch: epoch + 1,
                loss: mean(&self.losses[self.losses.len().saturating_sub(self.recipe.train.log_steps)..]),
                lr,
                tau: self.learner.temperature(),
                time: timing(seen, loader.waited()),
            };
            observe(Event::Step { step: &step, total: self.total() });
            if step.step.is_multiple_of(self.recipe.train.log_steps) {
                self.writer.as_mut().map_or(Ok(()), |k| k.add_step(step))?;
            }
            if world.any(self.stop.load(Ordering::Relaxed)) {
                return self.interrupt();
            }
            if self.writer.as_ref().is_some_and(|k| k.is_time_to_save(&self.recipe.train, self.step())) {
                self.save()?;
            }
        }
        self.state.batch = self.batches;
        self.report_broken(loader.broken(), observe);
        if self.losses.is_empty() {
            return Err(TrainError::NothingRead(epoch + 1));
        }
        let time = timing(seen, loader.waited());
        drop(loader);
        self.learner.set_temperature(temperature(&self.recipe.temperature, (epoch + 1) as f64))?;
        let network = self.evaluated()?;
        let evaluation = match &self.writer {
            Some(_) => self.evaluate(&network, observe)?,
            None => Scored::Nothing,
        };
        if world.any(matches!(evaluation, Scored::Stopped)) {
            return self.interrupt();
        }
        let evaluation = match evaluation {
            Scored::Done(evaluation) => Some(evaluation),
            Scored::Nothing | Scored::Stopped => None,
        };
        let line = Epoch {
            step: self.step(),
            epoch: epoch + 1,
            loss: mean(&self.losses),
            validation: evaluation.as_ref().map_or(Validation::default(), |e| Validation::of(&e.scores)),
            lr,
            tau: self.learner.temperature(),
            attention: evaluation.as_ref().and_then(|e| e.attention.clone()),
            time,
        };
        self.warn(&line, observe);
        if evaluation.is_some() && line.validation.score().is_none() && self.reported.insert("no score".into()) {
            let text =
                "nothing that was held out could be scored: its score is not defined, and the best network is the last";
            observe(Event::Warning(text.into()));
        }
        let score = line.validation.score();
        if self.state.best.is_none_or(|old| old.score <= score) {
            if let Some(writer) = &self.writer {
                let kept = writer.keep(&network, self.setup, self.recipe, dataset, evaluation.as_ref());
                kept.map_err(|error| self.not_finite(error))?;
            }
            self.state.best = Some(Best { epoch: epoch + 1, score });
        }
        self.writer.as_mut().map_or(Ok(()), |k| k.add_epoch(line.clone()))?;
        (self.state.epoch, self.state.batch) = (epoch + 1, 0);
        self.losses.clear();
        self.save()?;
        self.report()?;
        observe(Event::Epoch(&line));
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        learning_rate(&self.recipe.train, self.progress())
    }

    /// The learning rate of the last iteration of the current epoch; a run may be resumed when only the evaluation is
    /// left to do.
    fn last_learning_rate(&self) -> f64 {
        let last = self.step() - usize::from(self.state.batch > 0);
        learning_rate(&self.recipe.train, last as f64 / self.batches as f64)
    }

    /// Progress of the run in epochs.
    fn progress(&self) -> f64 {
        self.step() as f64 / self.batches as f64
    }

    /// Forward, backward, step.
    fn iterate(&mut self, batch: &Batch, lr: f64) -> Result<(), TrainError> {
        if batch.len() < self.recipe.train.accumulate && self.world.size() > 1 {
            let rank = self.world.rank();
            let message =
                format!("process {rank} can read too few images of its part of a batch; set train.batch higher");
            return Err(TrainError::World(message));
        }
        let devices = self.world.devices().len();
        if batch.len() < devices {
            return Err(TrainError::World(format!(
                "a batch of {} readable images cannot be shared by {devices} devices; set train.batch higher",
                batch.len()
            )));
        }
        self.learner.set_temperature(temperature(&self.recipe.temperature, self.progress()))?;
        // Dropout draws from a separate stream for each iteration and process, so that it has no state to save.
        let seed = self.recipe.seed.wrapping_add((self.world.rank() as u64) << 32);
        let loss = self.learner.step(batch, lr, stream(seed, self.step()));
        self.losses.push(loss.map_err(|error| match error {
            StepError::NonFinite(found) => self.diverged(found),
            StepError::Threads(e) => {
                TrainError::World(format!("the devices cannot have a thread each: {e}; name fewer"))
            }
        })?);
        Ok(())
    }

    /// The network that is scored and saved.
    fn evaluated(&self) -> Result<Network, TrainError> {
        self.learner.evaluated().map_err(|e| {
            self.diverged(NonFinite { what: "the average of the weights is not finite".into(), origin: e.to_string() })
        })
    }

    /// If a model cannot be written because a weight or a statistic is NaN or infinite, training has diverged.
    fn not_finite(&self, error: TrainError) -> TrainError {
        match error {
            TrainError::File(FileError {
                kind: ModelFileErrorKind::Weights(e @ WeightsError::NotFinite { .. }),
                ..
            }) => self.diverged(NonFinite { what: "a weight is not finite".into(), origin: e.to_string() }),
            error => error,
        }
    }

    fn diverged(&self, NonFinite { what, origin }: NonFinite) -> TrainError {
        let kept = match self.state.best.zip(self.writer.as_ref()) {
            Some((best, writer)) => {
                format!("{} holds the best network, of epoch {}", writer.model().display(), best.epoch)
            }
            None => "No epoch was finished".into(),
        };
        TrainError::Diverged { what, origin, step: self.step() + 1, epoch: self.state.epoch + 1, kept }
    }

    /// Scores the network on the validation part.
    fn evaluate(&mut self, network: &Network, observe: &mut dyn FnMut(Event<'_>)) -> Result<Scored, TrainError> {
        if self.dataset.is_empty(Split::Val) {
            return Ok(Scored::Nothing);
        }
        let LoaderOptions { batch, threads, prefetch, max_broken, .. } = self.loader;
        let options = LoaderOptions { batch, threads, prefetch, max_broken, ..LoaderOptions::default() };
        let mut broken = Vec::new();
        let number = self.state.epoch + 1;
        let mut note = |b: &Broken| broken.push(b.clone());
        let (transform, objective) = (&self.transform, &self.setup.objective);
        let done = evaluate(self.dataset, transform, objective, &options, network, number, self.stop, &mut note)?;
        self.report_broken(&broken, observe);
        Ok(done.map_or(Scored::Stopped, Scored::Done))
    }

    fn report_broken(&mut self, broken: &[Broken], observe: &mut dyn FnMut(Event<'_>)) {
        for broken in broken {
            if self.reported.insert(broken.name.clone()) {
                observe(Event::Broken(broken));
            }
        }
    }

    /// Reports problems of the attention, once per layer.
    fn warn(&mut self, line: &Epoch, observe: &mut dyn FnMut(Event<'_>)) {
        let t = &self.recipe.temperature;
        let annealed = if t.schedule == TemperatureSchedule::Linear { t.epochs } else { 0.0 };
        // A router needs time to leave the uniform start: half of the epochs after annealing.
        let settled = line.epoch as f64 >= 0.5 * (annealed + self.recipe.train.epochs as f64).max(2.0 * annealed);
        for text in line.attention.iter().flat_map(|a| a.warnings(settled, &mut self.reported)) {
            observe(Event::Warning(text));
        }
    }

    /// Writes a checkpoint.
    fn save(&mut self) -> Result<(), TrainError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let saved = writer.save(self.step(), |journal| {
            self.state.journal = journal;
            let losses = Stored::new(&[self.losses.len()], self.losses.clone());
            let checkpoint = self.learner.save(Checkpoint::new(self.state.clone())).map_err(|f| self.diverged(f))?;
            Ok(checkpoint.with("epoch", Tensors::from([("losses".to_owned(), losses)])))
        });
        self.writer = Some(writer);
        saved
    }

    /// Writes the report of the completed epochs.
    fn report(&self) -> Result<(), TrainError> {
        let writer = self.writer.as_ref().filter(|k| !k.epochs.is_empty());
        writer.map_or(Ok(()), |k| k.report(self.dataset, &self.setup.graph))
    }

    fn interrupt(&mut self) -> Result<(), TrainError> {
        self.save()?;
        let resume = self.writer.as_ref().map_or_else(Default::default, RunWriter::resume);
        Err(TrainError::Interrupted { step: self.step(), total: self.total(), resume })
    }
}

/// The result of scoring the network.
enum Scored {
    Done(Evaluation),
    /// There is no validation part.
    Nothing,
    /// The run was asked to stop meanwhile.
    Stopped,
}

/// Loader options for this process's part of the training images.
fn loader(recipe: &Recipe, dataset: &Dataset, world: &World) -> Result<LoaderOptions, TrainError> {
    let (images, batch) = (dataset.len(Split::Train), recipe.train.batch);
    let loader = LoaderOptions {
        batch,
        threads: threads(recipe),
        prefetch: PREFETCH,
        seed: recipe.seed,
        shuffle: true,
        drop_last: images >= batch,
        max_broken: recipe.data.max_broken,
        rank: world.rank(),
        world_size: world.size(),
    };
    if loader.batches(images) == 0 || (world.size() > 1 && !loader.drop_last) {
        return Err(TrainError::TooFew { images, batch });
    }
    Ok(loader)
}

/// Broadcasts the leading process's checkpoint to all processes.
fn shared(own: Checkpoint, world: &World) -> Result<Checkpoint, TrainError> {
    if world.size() == 1 {
        return Ok(own);
    }
    let bytes = world.from_leader(if world.is_leader() { own.to_bytes() } else { Vec::new() });
    Checkpoint::from_bytes(&bytes).map_err(|e| TrainError::World(format!("the leading process's checkpoint {e}")))
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
