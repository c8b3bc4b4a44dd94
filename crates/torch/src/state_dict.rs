//! A state dict: names and float tensors, and what was done to get them.

use std::collections::{BTreeMap, BTreeSet};

use dyconv_graph::{Graph, Tensor, short_name};

use crate::error::FileProblem;

/// Keys under which training programs store the weights, in the order in which timm looks for them.
const WRAPPERS: [&str; 4] = ["state_dict_ema", "model_ema", "state_dict", "model"];

/// Prefixes that wrappers of a module add: data parallel training, `torch.compile`, `transformers`.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "timm_model."];

/// Named float tensors as they were stored, in row-major order, without wrappers around their names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StateDict {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Sentences about what was unwrapped, stripped, converted or skipped.
    pub notes: Vec<String>,
    /// The graph and architecture that [`export`](crate::export) stored beside the tensors.
    pub(crate) origin: Option<Origin>,
}

/// What our own files say about the network they were exported from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Origin {
    pub arch: String,
    pub graph: Graph,
}

/// Tensors as they come from a file.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub tensors: Vec<(String, Tensor)>,
    /// Names of the float types that were converted, with their counts.
    pub converted: BTreeMap<&'static str, usize>,
    /// Names of integer tensors, which are no weights.
    pub integers: Vec<String>,
    /// Classes in a pickle that a state dict does not need.
    pub classes: Vec<String>,
    pub origin: Option<Origin>,
}

impl Raw {
    /// Unwraps and strips as timm's loader does.
    pub fn finish(self) -> Result<StateDict, FileProblem> {
        let Self { tensors, converted, integers, classes, origin } = self;
        let mut notes = Vec::new();
        let wrapper = WRAPPERS.iter().find(|w| tensors.iter().any(|(name, _)| inside(name, w).is_some()));
        let mut outside = BTreeSet::new();
        let mut stripped = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (name, tensor) in tensors {
            let mut rest = name.as_str();
            if let Some(wrapper) = wrapper {
                match inside(rest, wrapper) {
                    Some(inner) => rest = inner,
                    None => {
                        outside.insert(rest.split('.').next().unwrap_or(rest).to_owned());
                        continue;
                    }
                }
            }
            while let Some((prefix, inner)) = PREFIXES.iter().find_map(|p| Some((*p, rest.strip_prefix(p)?))) {
                *stripped.entry(prefix).or_insert(0usize) += 1;
                rest = inner;
            }
            if found.insert(rest.to_owned(), tensor).is_some() {
                return Err(FileProblem::Duplicate(rest.to_owned()));
            }
        }
        if found.is_empty() {
            return Err(FileProblem::Empty);
        }
        if let Some(wrapper) = wrapper {
            notes.push(format!("the weights were under the key `{wrapper}`"));
        }
        if !outside.is_empty() {
            notes.push(format!("tensors outside of it were left out: {}", listed(&outside)));
        }
        for (prefix, count) in stripped {
            notes.push(format!("the prefix `{prefix}` was stripped from {count} names"));
        }
        for (dtype, count) in converted {
            notes.push(format!("{count} tensors of type {dtype} were converted to f32"));
        }
        let (counters, other): (Vec<_>, Vec<_>) =
            integers.into_iter().partition(|name| name.ends_with("num_batches_tracked"));
        if !counters.is_empty() {
            notes.push(format!("{} counters `num_batches_tracked` were skipped", counters.len()));
        }
        if !other.is_empty() {
            notes.push(format!("{} other integer tensors were skipped: {}", other.len(), listed(&other)));
        }
        if !classes.is_empty() {
            notes
                .push(format!("objects of other classes were not made, only their tensors read: {}", listed(&classes)));
        }
        Ok(StateDict { tensors: found, notes, origin })
    }
}

/// The first few names.
fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = names.by_ref().take(5).map(|n| format!("`{}`", short_name(n))).collect();
    format!("{}{}", first.join(", "), if names.next().is_some() { ", …" } else { "" })
}

/// The name inside the wrapper, if it is there.
fn inside<'a>(name: &'a str, wrapper: &str) -> Option<&'a str> {
    name.strip_prefix(wrapper)?.strip_prefix('.').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(names: &[&str]) -> Raw {
        let tensors = names.iter().map(|n| ((*n).to_owned(), Tensor::full(&[1], 0.0))).collect();
        Raw { tensors, ..Raw::default() }
    }

    #[test]
    fn the_first_wrapper_wins_and_prefixes_go() {
        let dict = raw(&["model.module.a", "state_dict.module._orig_mod.b", "optimizer.0.exp_avg"]).finish().unwrap();
        assert_eq!(dict.tensors.keys().collect::<Vec<_>>(), ["b"]);
        let notes = dict.notes.join("\n");
        assert!(notes.contains("`state_dict`") && notes.contains("`model`, `optimizer`"), "{notes}");
        assert!(notes.contains("`module.` was stripped from 1 names"), "{notes}");
        let plain = raw(&["a.b", "model_name"]).finish().unwrap();
        assert!(plain.notes.is_empty() && plain.tensors.len() == 2);
    }

    #[test]
    fn a_name_that_occurs_twice_is_an_error() {
        let error = raw(&["module.a", "a"]).finish().unwrap_err();
        assert_eq!(error.to_string(), "tensor `a` occurs twice");
        assert!(matches!(raw(&[]).finish(), Err(FileProblem::Empty)));
    }
}
