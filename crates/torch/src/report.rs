//! What an import found: nothing is dropped without a line here.

use dyconv_graph::short_name;
use serde::Serialize;

/// The result of matching a state dict with a graph.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Number of tensors of the graph that were found.
    pub matched: usize,
    /// Tensors that the graph needs and the state dict lacks.
    pub missing: Vec<Missing>,
    /// Tensors of another shape.
    pub mismatched: Vec<Mismatch>,
    /// Tensors that no node of the graph reads.
    pub unused: Vec<Unused>,
    /// Sentences about what was unwrapped, stripped, converted, skipped or assumed.
    pub notes: Vec<String>,
}

/// A tensor that the state dict lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The name that was looked for.
    pub name: String,
    /// The tensor of the graph.
    pub tensor: String,
    /// The shape that it should have.
    pub expected: Vec<usize>,
    /// The unused name that is nearest to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// A tensor of another shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// The tensor of the graph.
    pub tensor: String,
    /// Its shape.
    pub found: Vec<usize>,
    /// The shape that it should have.
    pub expected: Vec<usize>,
    /// The unused tensor of the expected shape whose name is nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// A tensor that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Report {
    /// Whether every tensor of the graph was found with its shape.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty()
    }

    /// One line about what is missing or does not fit.
    pub(crate) fn problem(&self) -> String {
        let count = |n: usize| if n == 1 { "1 tensor".to_owned() } else { format!("{n} tensors") };
        let hint = |nearest: &Option<String>| {
            nearest.as_ref().map_or(String::new(), |n| format!("; the nearest unused name is `{}`", short_name(n)))
        };
        let mut parts = Vec::new();
        if let Some(first) = self.missing.first() {
            parts.push(format!(
                "{} missing, first `{}` {:?}{}",
                count(self.missing.len()),
                short_name(&first.name),
                first.expected,
                hint(&first.nearest)
            ));
        }
        if let Some(first) = self.mismatched.first() {
            parts.push(format!(
                "{} of another shape, first `{}` {:?}, expected {:?}{}",
                count(self.mismatched.len()),
                short_name(&first.name),
                first.found,
                first.expected,
                hint(&first.nearest)
            ));
        }
        format!("the state dict does not fit the network ({} matched): {}", self.matched, parts.join("; "))
    }
}
