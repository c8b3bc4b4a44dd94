//! The error type of this crate.

use dyconv_graph::WeightsError;

/// A network that cannot be compiled or run, with the expected values.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The weights do not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// τ of softmax(z/τ) is not a positive finite number.
    #[error("the temperature must be a positive finite number, got {0}")]
    Temperature(f32),
    /// `DYCONV_ISA` names an instruction set that this CPU does not support.
    #[error("DYCONV_ISA: {0}")]
    Isa(String),
    /// A buffer of the caller has the wrong length.
    #[error("{what} must hold {expected} values ({batch} × {sample}), got {found}")]
    Length {
        /// `input` or `output`.
        what: &'static str,
        /// Required number of values.
        expected: usize,
        /// Actual number of values.
        found: usize,
        /// Number of samples in the batch.
        batch: usize,
        /// Shape of one sample, as text.
        sample: String,
    },
    /// More memory is required than is available, or than a plan may use.
    #[error("running the network needs {bytes} bytes of working memory, more than the limit of {limit}")]
    TooLarge {
        /// Required number of bytes.
        bytes: usize,
        /// Available or allowed number of bytes.
        limit: usize,
    },
    /// A memory allocation failed.
    #[error("the system refuses {bytes} bytes of memory")]
    Memory {
        /// Requested number of bytes.
        bytes: usize,
    },
}

/// Checks τ.
pub(crate) fn check_tau(tau: f32) -> Result<(), EngineError> {
    if tau.is_finite() && tau > 0.0 { Ok(()) } else { Err(EngineError::Temperature(tau)) }
}

/// Checks that a buffer holds `batch` samples of these dimensions.
pub(crate) fn check_len(
    what: &'static str,
    found: usize,
    batch: usize,
    sample: dyconv_graph::Shape,
) -> Result<(), EngineError> {
    let expected = batch.saturating_mul(sample.elements());
    if found == expected {
        Ok(())
    } else {
        Err(EngineError::Length { what, expected, found, batch, sample: sample.to_string() })
    }
}
