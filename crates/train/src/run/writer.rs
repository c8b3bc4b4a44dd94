//! The files written by the leading process: checkpoints, metrics, the best network, the report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use dyconv_data::Dataset;
use dyconv_file::{FileError, Model, ModelFileErrorKind, Provenance};
use dyconv_graph::Graph;
use dyconv_nn::Network;
use dyconv_task::Fingerprint;

use super::event::Event;
use crate::checkpoint::{Checkpoint, State};
use crate::error::Kept;
use crate::error::TrainError;
use crate::evaluate::Evaluation;
use crate::files::{EVALUATION, JOURNAL, LAST};
use crate::folder::{RunFolder, same_recipe};
use crate::journal::{Epoch, Journal, Line, Step};
use crate::recipe::{Recipe, TrainRecipe};
use crate::report;
use crate::setup::{Setup, task};

/// The open files of a run.
pub(super) struct RunWriter<'a> {
    folder: &'a RunFolder,
    /// Fingerprint of the data.
    data: Fingerprint,
    journal: Journal,
    /// Every completed epoch.
    pub epochs: Vec<Epoch>,
    /// When the newest checkpoint was written, or the run was resumed.
    saved_at: Instant,
    /// Iteration of the newest checkpoint, if there is one.
    saved: Option<usize>,
}

/// The folder's newest checkpoint that can be resumed, or `None` if the run is new.
pub(super) fn newest(folder: &RunFolder, observe: &mut dyn FnMut(Event<'_>)) -> Result<Option<Checkpoint>, TrainError> {
    let written = std::fs::metadata(folder.file(JOURNAL)).map_or(0, |m| m.len());
    let usable = |state: &State| match state.journal <= written {
        true => Ok(()),
        false => Err(format!("knows {} bytes of metrics, of which {written} are left", state.journal)),
    };
    let last = folder.file(LAST);
    let found = Checkpoint::newest(&last, usable, &mut |text| observe(Event::Warning(text)))?;
    if let Some(checkpoint) = &found {
        let begun = Recipe::begun(&checkpoint.state.recipe)
            .map_err(|cause| TrainError::Recipe { path: last.clone(), cause })?;
        same_recipe(&last, &begun, folder.recipe())?;
    }
    Ok(found)
}

impl<'a> RunWriter<'a> {
    /// Opens the files, truncated to the position recorded in `state`.
    pub fn open(folder: &'a RunFolder, dataset: &Dataset, state: &State) -> Result<Self, TrainError> {
        let (journal, lines) = Journal::open(folder, state.journal)?;
        let epochs = lines.into_iter().filter_map(|line| match line {
            Line::Epoch(epoch) => Some(epoch),
            Line::Step(_) => None,
        });
        Ok(Self {
            folder,
            data: dataset.fingerprint(),
            journal,
            epochs: epochs.collect(),
            saved_at: Instant::now(),
            saved: None,
        })
    }

    /// Records the iteration of the newest checkpoint.
    pub fn resumed(&mut self, step: usize) {
        self.saved = Some(step);
    }

    /// The model file of the best network.
    pub fn model(&self) -> PathBuf {
        self.folder.model()
    }

    /// The folder to resume.
    pub fn resume(&self) -> PathBuf {
        self.folder.resume().to_owned()
    }

    pub fn add_step(&mut self, step: Step) -> Result<(), TrainError> {
        let added = self.journal.add(&Line::Step(step));
        self.written(added)
    }

    pub fn add_epoch(&mut self, line: Epoch) -> Result<(), TrainError> {
        let added = self.journal.add(&Line::Epoch(line.clone()));
        self.epochs.push(line);
        self.written(added)
    }

    pub fn is_time_to_save(&self, recipe: &TrainRecipe, step: usize) -> bool {
        let steps = recipe.checkpoint_steps > 0 && step - self.saved.unwrap_or(0) >= recipe.checkpoint_steps;
        steps || self.saved_at.elapsed().as_secs_f64() >= 60.0 * recipe.checkpoint_minutes
    }

    /// Writes the checkpoint that `make` returns, given the length of the journal in bytes.
    pub fn save(
        &mut self,
        step: usize,
        make: impl FnOnce(u64) -> Result<Checkpoint, TrainError>,
    ) -> Result<(), TrainError> {
        let bytes = self.journal.sync().and_then(|()| self.journal.bytes());
        let checkpoint = make(self.written(bytes)?)?;
        let last = self.folder.file(LAST);
        self.written(checkpoint.write(&last).map_err(|e| TrainError::write(&last, e)))?;
        (self.saved_at, self.saved) = (Instant::now(), Some(step));
        Ok(())
    }

    /// Writes the network to the model file as the best.
    pub fn keep(
        &self,
        network: &Network,
        setup: &Setup,
        recipe: &Recipe,
        dataset: &Dataset,
        evaluation: Option<&Evaluation>,
    ) -> Result<(), TrainError> {
        let model = Model {
            graph: setup.graph.clone(),
            weights: network.weights(),
            tau: network.temperature(),
            preprocessing: setup.preprocessing.clone(),
            task: task(dataset),
            provenance: Provenance {
                producer: concat!("dyconv ", env!("CARGO_PKG_VERSION")).into(),
                model: recipe.model.name.clone(),
                recipe: recipe.to_toml(),
                data: Some(self.data.clone()),
            },
        };
        self.written(model.write(&self.model()).map_err(TrainError::from))?;
        self.written(evaluation.map_or(Ok(()), |e| e.write(&self.folder.file(EVALUATION))))
    }

    pub fn report(&self, dataset: &Arc<Dataset>, graph: &Graph) -> Result<(), TrainError> {
        self.written(report::write(self.folder, dataset, &self.epochs, graph))
    }

    /// Adds to a write error what is preserved of the run.
    fn written<T>(&self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        result.map_err(|error| {
            let kept = Some(Kept { checkpoint: self.saved, resume: self.resume() });
            match error {
                TrainError::Write { path, cause, .. } => TrainError::Write { path, cause, kept },
                TrainError::File(FileError { path, kind: ModelFileErrorKind::Io { source, .. } }) => {
                    TrainError::Write { path, cause: source, kept }
                }
                error => error,
            }
        })
    }
}
