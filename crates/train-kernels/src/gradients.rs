//! What a backward pass computes.

use crate::job::Shared;

/// Where gradients go; what is `None` is not computed.
pub(crate) struct Gradients<'a> {
    /// As `x`, not yet written.
    pub(crate) dx: Option<Shared<'a>>,
    /// As the bank.
    pub(crate) dbank: Option<&'a mut [f32]>,
    /// `[N, K]`.
    pub(crate) dpi: Option<&'a mut [f32]>,
}
