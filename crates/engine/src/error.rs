//! The one error of this crate.

use dyconv_graph::WeightsError;

/// What cannot be compiled or run, with the numbers that were expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The weights do not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// τ of softmax(z/τ) is not a positive finite number.
    #[error("the temperature must be a positive finite number, got {0}")]
    Temperature(f32),
    /// `DYCONV_ISA` names an instruction set that this CPU lacks.
    #[error("DYCONV_ISA: {0}")]
    Isa(String),
    /// A buffer of the caller has the wrong length.
    #[error("{what} must hold {expected} values ({batch} × {sample}), got {found}")]
    Length {
        /// `input` or `output`.
        what: &'static str,
        /// Values that are needed.
        expected: usize,
        /// Values that are there.
        found: usize,
        /// Samples of the batch.
        batch: usize,
        /// Shape of one sample, as text.
        sample: String,
    },
    /// More memory is needed than there is, or than a plan may ask for.
    #[error("running the network needs {bytes} bytes of working memory, more than the limit of {limit}")]
    TooLarge {
        /// Bytes needed.
        bytes: usize,
        /// Bytes that are there, or allowed.
        limit: usize,
    },
    /// The system refuses memory.
    #[error("the system refuses {bytes} bytes of memory")]
    Memory {
        /// Bytes asked for.
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
