//! The error type of this crate.

use dyconv_file::ModelFileErrorKind;
use dyconv_graph::{WeightsError, short_name};

/// Why an ONNX file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The bytes are not an ONNX model, or contradict themselves.
    #[error("not a valid ONNX model: {0}")]
    Invalid(String),
    /// The model is valid but not one that a dyconv graph can hold.
    #[error("{0}")]
    Unsupported(String),
    /// A network cannot be written with these options.
    #[error("cannot be written as ONNX: {0}")]
    Options(String),
    /// The weights do not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A weight that is finite until a batch norm or attention is folded into it.
    #[error("tensor `{}` is not finite once a batch norm or attention is folded into it", short_name(.0))]
    NotFinite(String),
    /// The model's header cannot be written.
    #[error("the model {0}")]
    Header(#[from] ModelFileErrorKind),
    /// External data cannot be written.
    #[error("external data cannot be written: {0}")]
    Io(#[from] std::io::Error),
}
