//! The gradients that a backward pass computes.

use crate::job::Shared;

/// Destinations of the gradients; a gradient that is `None` is not computed.
pub(crate) struct Gradients<'a> {
    /// Same layout as `x`, uninitialized.
    pub(crate) dx: Option<Shared<'a>>,
    /// Same layout as the bank.
    pub(crate) dbank: Option<&'a mut [f32]>,
    /// `[N, K]`.
    pub(crate) dpi: Option<&'a mut [f32]>,
}
