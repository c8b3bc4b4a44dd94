//! A panel: a group of output channels, one to three vectors wide.

/// A panel of output channels of one group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelShape {
    /// Width in vectors.
    pub(crate) width: usize,
    pub(crate) group: usize,
    /// First output channel.
    pub(crate) channel: usize,
    /// Number of output channels that are not padding.
    pub(crate) channels: usize,
    /// Index of its first vector in the bank.
    pub(crate) vector: usize,
    /// Total width in vectors of the panels before this one.
    pub(crate) column: usize,
}
