//! The one error of this crate: which node, and what is wrong with it.

use crate::words::short_name;

/// A network that cannot exist: names the node and says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}`: {message}")]
#[non_exhaustive]
pub struct GraphError {
    /// Name of the node as it may stand in a message, or `graph` for the description as a whole.
    pub node: String,
    /// What was found and what was expected.
    pub message: String,
}

impl GraphError {
    pub(crate) fn new(node: &str, message: impl Into<String>) -> Self {
        Self { node: short_name(node), message: message.into() }
    }
}
