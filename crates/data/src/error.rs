//! The one error of this crate: which file or setting, and what is wrong with it.

use std::path::Path;

/// Data that cannot be used: names the file, image or setting and says what was expected.
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

/// 1234567 as `1,234,567`.
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
