//! Why a run cannot begin, go on or be taken up again.

use std::io;
use std::path::{Path, PathBuf};

use dyconv_data::DataError;
use dyconv_file::FileError;
use dyconv_metrics::KeypointError;
use dyconv_nn::NetworkError;

use crate::RecipeError;

/// A run that cannot go on. What was saved stays.
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
    /// Answers in joints that cannot be scored.
    #[error("the answers cannot be scored: {0}")]
    Score(#[from] KeypointError),
    /// The recipe of a run folder.
    #[error("{}: {source}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecipeError,
    },
    /// The processes cannot work together.
    #[error("{0}")]
    World(String),
    /// No image to train on.
    #[error("the training part holds {images} images, fewer than one batch of {batch}; set train.batch lower")]
    TooFew {
        /// Images.
        images: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// Every image of an epoch is broken.
    #[error("no image of epoch {0} could be read")]
    NothingRead(usize),
    /// A run would be overwritten.
    #[error("{path}: holds a run already; go on with it: --resume {path}; replace it: --force", path = .0.display())]
    Exists(PathBuf),
    /// A folder without a run.
    #[error("{}: holds no run that could be resumed (no {})", .0.display(), crate::folder::RUN)]
    NoRun(PathBuf),
    /// Another process trains in this folder.
    #[error("{}: another process is training in this folder; wait for it or stop it", .0.display())]
    Busy(PathBuf),
    /// A file of the run folder is no such file.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A run is resumed by another recipe.
    #[error(
        "{}: the run was begun with {key} = {begun}, not {given}; a run is resumed by its own recipe only: leave the \
         setting out, or begin a new run in another folder", path.display()
    )]
    OtherRecipe {
        /// The run folder or file.
        path: PathBuf,
        /// Dotted key.
        key: String,
        /// Its value in the run.
        begun: String,
        /// Its value now.
        given: String,
    },
    /// A run is resumed on other data.
    #[error("{}: the run was begun on other data: {difference}", path.display())]
    OtherData {
        /// The run folder.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A file of the run cannot be written.
    #[error("{}: cannot be written: {source}. {kept}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
        /// Which checkpoint is whole, and how to go on.
        kept: String,
    },
    /// A file of the run cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A number is NaN or infinite.
    #[error(
        "{what} at iteration {step} (epoch {epoch}): training diverged. {origin}. Try a lower train.lr, a longer \
         train.warmup_epochs or a higher temperature. {kept}"
    )]
    Diverged {
        /// The loss or the gradient, in words.
        what: String,
        /// Where the first such number stands.
        origin: String,
        /// Iteration, from 1.
        step: usize,
        /// Epoch, from 1.
        epoch: usize,
        /// What remains.
        kept: String,
    },
    /// The run was asked to stop, and has saved itself.
    #[error("stopped after iteration {step} of {total}; go on with: dyconv train --resume {}", resume.display())]
    Interrupted {
        /// Iterations done.
        step: usize,
        /// Iterations of the whole run.
        total: usize,
        /// What `--resume` takes.
        resume: PathBuf,
    },
}

impl TrainError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source, kept: String::new() }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}
