//! Errors of making a set of pictures.

use std::io;
use std::path::{Path, PathBuf};

use dyconv_data::DataError;

/// Pictures that cannot be made: names the file and the expected state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// No pictures are requested, or more than can be numbered in file names.
    #[error("{train} training and {val} validation pictures, expected at least one and at most {most} of a kind")]
    Count {
        /// Pictures for training.
        train: u64,
        /// Pictures for validation.
        val: u64,
        /// Largest number of pictures of a split.
        most: u64,
    },
    /// The folder is not empty, and [`FigureOptions::overwrite`](crate::FigureOptions::overwrite) is not set.
    #[error("{}: is not empty; choose another folder, or write over what is there", .0.display())]
    NotEmpty(PathBuf),
    /// An I/O error.
    #[error("{}: cannot be {what}: {source}", path.display())]
    Io {
        /// A file or folder.
        path: PathBuf,
        /// `made`, `read` or `written`.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A picture cannot be encoded or written.
    #[error(transparent)]
    Image(#[from] DataError),
}

impl FigureError {
    pub(crate) fn io(path: &Path, what: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), what, source }
    }
}
