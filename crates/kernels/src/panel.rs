//! A panel: output channels side by side in one to three vectors.

/// A panel of output channels of one group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelShape {
    /// Vectors side by side.
    pub(crate) width: usize,
    pub(crate) group: usize,
    /// First output channel.
    pub(crate) channel: usize,
    /// Output channels that are not padding.
    pub(crate) channels: usize,
    /// First vector in the bank.
    pub(crate) vector: usize,
    /// Vectors side by side in the panels before this one.
    pub(crate) column: usize,
}
