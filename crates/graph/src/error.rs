//! The error type of this crate.

use crate::words::short_name;

/// An invalid network: the node, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}`: {message}")]
#[non_exhaustive]
pub struct GraphError {
    /// Name of the node, shortened for messages, or `graph` for the description as a whole.
    pub node: String,
    /// What was found and what was expected.
    pub message: String,
}

impl GraphError {
    /// An error about a node.
    pub fn new(node: &str, message: impl Into<String>) -> Self {
        Self { node: short_name(node), message: message.into() }
    }
}
