//! Errors of training. The messages name no command-line flags: programs add their own advice.

use std::io;
use std::path::{Path, PathBuf};

use dyconv_data::DataError;
use dyconv_file::FileError;
use dyconv_metrics::KeypointError;
use dyconv_nn::NetworkError;

use crate::recipe::RecipeError;

/// A run that cannot start or continue. Everything that was saved is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// Keypoint predictions that cannot be scored.
    #[error("the answers cannot be scored: {0}")]
    Score(#[from] KeypointError),
    /// The recipe in a run folder.
    #[error("{}: {cause}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: RecipeError,
    },
    /// The processes or devices cannot work together.
    #[error("{0}")]
    World(String),
    /// MPI started several processes of a build without MPI.
    #[error("{0} indicates an MPI launch, but this build lacks MPI support")]
    NoMpi(&'static str),
    /// Several processes are to train on devices other than the CPU.
    #[error("MPI processes synchronize their batch norms on the CPU only")]
    ProcessesOnDevices,
    /// Device numbers for a kind of device that has no numbers.
    #[error("device numbers choose among CUDA devices")]
    DeviceNumbers,
    /// A device that this build does not support.
    #[error("this program was built without {0}")]
    NotBuilt(&'static str),
    /// There are no images to train on.
    #[error("the training part holds {images} images, fewer than one batch of {batch}; set train.batch lower")]
    TooFew {
        /// Number of images.
        images: usize,
        /// Number of images in a batch.
        batch: usize,
    },
    /// Every image of an epoch is broken.
    #[error("no image of epoch {0} could be read")]
    NothingRead(usize),
    /// A run would be overwritten.
    #[error("{}: holds a run already", .0.display())]
    Exists(PathBuf),
    /// A folder with other files than those of a run.
    #[error(
        "{}: holds no run, but {entries}; nothing there was touched; name another folder, a new or an empty one",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Its content, as text.
        entries: String,
    },
    /// A folder without a run.
    #[error("{}: holds no run that could be resumed (no {})", .0.display(), crate::files::RUN)]
    NoRun(PathBuf),
    /// A run started from a model was stopped before its first checkpoint.
    #[error("{}: the run was begun from the model {from} and stopped before its first checkpoint", path.display())]
    LostStart {
        /// The run folder.
        path: PathBuf,
        /// The model.
        from: String,
    },
    /// Another process trains in this folder.
    #[error("{}: another process is training in this folder; wait for it or stop it", .0.display())]
    Busy(PathBuf),
    /// A file of the run folder is damaged or something else.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No checkpoint of the run is intact.
    #[error("{}: {reason}, and there is no whole checkpoint before it", path.display())]
    NoCheckpoint {
        /// The newest checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The metrics of the run are damaged; it cannot be resumed without them.
    #[error("{}: {reason}; restore the file", path.display())]
    DamagedMetrics {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A run is resumed with a different recipe.
    #[error(
        "{}: the run was begun with {key} = {begun}, not {given}; a run is resumed by its own recipe only: leave the \
         setting out, or begin a new run in another folder", path.display()
    )]
    OtherRecipe {
        /// The run folder or file.
        path: PathBuf,
        /// Dotted key.
        key: String,
        /// Its value in the run's recipe.
        begun: String,
        /// The value given now.
        given: String,
    },
    /// A run is resumed on different data.
    #[error("{}: the run was begun on other data: {difference}", path.display())]
    OtherData {
        /// The run folder.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A file of the run cannot be written.
    #[error("{}: cannot be written: {cause}{}", path.display(), Kept::sentence(kept.as_ref()))]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
        /// The part of the run that is preserved, if a run was being written.
        kept: Option<Kept>,
    },
    /// A file of a run that is to be replaced cannot be removed.
    #[error("{}: cannot be removed: {cause}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A file of the run cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A number is NaN or infinite.
    #[error(
        "{what} at iteration {step} (epoch {epoch}): training diverged. {origin}. Try a lower train.lr, a longer \
         train.warmup_epochs or a higher temperature. {kept}"
    )]
    Diverged {
        /// The loss or the gradient, as text.
        what: String,
        /// Where the first non-finite number occurs.
        origin: String,
        /// Iteration, one-based.
        step: usize,
        /// Epoch, one-based.
        epoch: usize,
        /// What is preserved, as text.
        kept: String,
    },
    /// The run was asked to stop, and has saved its state.
    #[error("stopped after iteration {step} of {total}")]
    Interrupted {
        /// Number of completed iterations.
        step: usize,
        /// Number of iterations of the whole run.
        total: usize,
        /// The folder to resume.
        resume: PathBuf,
    },
}

impl TrainError {
    pub(crate) fn read(path: &Path, cause: io::Error) -> Self {
        Self::Read { path: path.to_owned(), cause }
    }

    pub(crate) fn write(path: &Path, cause: io::Error) -> Self {
        Self::Write { path: path.to_owned(), cause, kept: None }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}

/// The part of a run that is preserved when a file cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Iteration of the newest intact checkpoint, if there is one.
    pub checkpoint: Option<usize>,
    /// The folder to resume.
    pub resume: PathBuf,
}

impl Kept {
    fn sentence(kept: Option<&Self>) -> String {
        match kept {
            None => String::new(),
            Some(Self { checkpoint: Some(step), .. }) => format!(". The checkpoint of iteration {step} is whole"),
            Some(Self { checkpoint: None, .. }) => ". No checkpoint was written yet".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_reported_once() {
        let path = Path::new("my runs/a");
        let error = TrainError::write(path, io::Error::from_raw_os_error(28));
        assert!(std::error::Error::source(&error).is_none());
        let text = error.to_string();
        assert!(text.starts_with("my runs/a: cannot be written: ") && text.ends_with(')'), "{text}");
    }
}
