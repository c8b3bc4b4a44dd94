//! Errors of model files.

use std::path::PathBuf;

use dyconv_graph::{WeightsError, short_name};

use crate::format::VERSION;

/// A model file that cannot be read or written: names the file and the expected content.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ModelFileErrorKind,
}

/// What can be wrong with a model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileErrorKind {
    /// An I/O error.
    #[error("cannot be {what}: {source}")]
    Io {
        /// `read` or `written`.
        what: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("is not a whole safetensors file ({0}); it may be cut short or something else")]
    Container(String),
    /// A safetensors file of another program.
    #[error("is a safetensors file, but no dyconv model: its metadata has no key `dyconv`")]
    Foreign,
    /// Written in a format version that this program does not know.
    #[error(
        "has model-file version {0}, this program reads versions 1 to {VERSION}; use the dyconv that wrote it or a newer one"
    )]
    Version(u64),
    /// The description in the header is malformed.
    #[error("has a header that cannot be used: {0}")]
    Header(String),
    /// A tensor is not stored as 32-bit floats.
    #[error("tensor `{}` is stored as {found}, expected F32", short_name(name))]
    Dtype {
        /// Its name.
        name: String,
        /// Its element type.
        found: String,
    },
    /// The tensors do not fit the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
