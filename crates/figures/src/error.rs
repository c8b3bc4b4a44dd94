//! Why a set of pictures cannot be made.

use std::io;
use std::path::{Path, PathBuf};

use dyconv_data::DataError;

/// Pictures that cannot be made: names the file and says what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// No pictures are asked for, or more than file names can number.
    #[error("{train} training and {val} validation pictures, expected at least one and at most {most} of a kind")]
    Count {
        /// Pictures for training.
        train: u64,
        /// Pictures for validation.
        val: u64,
        /// Most of a kind.
        most: u64,
    },
    /// The folder holds something, and [`FigureOptions::overwrite`](crate::FigureOptions::overwrite) is not set.
    #[error("{}: is not empty; choose another folder, or write over what is there", .0.display())]
    NotEmpty(PathBuf),
    /// The operating system refused.
    #[error("{}: cannot be {what}: {source}", path.display())]
    Io {
        /// A file or folder.
        path: PathBuf,
        /// `made`, `read` or `written`.
        what: &'static str,
        /// Its answer.
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
