//! The error type of this crate.

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
}
