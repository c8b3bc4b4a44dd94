//! The error type of this crate: the file or setting, and what is wrong with it.

use std::path::Path;

/// Unusable data: names the file, image or setting, and the expected value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct DataError {
    /// A path, the name of an item such as `digits[17]`, or a setting such as `preprocessing.mean`.
    pub name: String,
    /// What was found, what was expected and, where it helps, what to do.
    pub message: String,
}

impl DataError {
    pub(crate) fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }

    pub(crate) fn at(path: &Path, message: impl Into<String>) -> Self {
        Self::new(path.display().to_string(), message)
    }
}
