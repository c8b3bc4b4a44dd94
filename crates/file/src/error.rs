//! What may be wrong with a model file.

use std::path::PathBuf;

use dyconv_graph::{WeightsError, short_name};

use crate::format::VERSION;

/// A model file that cannot be read or written: names the file and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ModelFileErrorKind,
}

/// What may be wrong with a model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileErrorKind {
    /// The operating system refused.
    #[error("cannot be {what}: {source}")]
    Io {
        /// `read` or `written`.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
    /// No safetensors file at all, or a damaged one.
    #[error("is not a whole safetensors file ({0}); it may be cut short or something else")]
    Container(String),
    /// A safetensors file of somebody else.
    #[error("is a safetensors file, but no dyconv model: its metadata has no key `dyconv`")]
    Foreign,
    /// Written in a format that this program does not know.
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
