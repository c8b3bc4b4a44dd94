//! A state dict as a dialect sees it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dyconv_graph::Tensor;

use crate::dialects::{Dialect, Tensors, keras};
use crate::state_dict::StateDict;

/// The tensors of a state dict by the names that a dialect uses for them.
pub(crate) struct Named<'a> {
    /// For each of them, its name in the state dict, and itself.
    by_name: BTreeMap<Cow<'a, str>, (&'a str, &'a Tensor)>,
}

impl<'a> Named<'a> {
    pub fn of(dict: &'a StateDict, dialect: &Dialect) -> Self {
        let name = |original: &'a str| match dialect.tensors {
            Tensors::Torch => Cow::Borrowed(original),
            Tensors::Keras => Cow::Owned(keras::canonical(original)),
        };
        let tensors = dict.tensors.iter().map(|(original, tensor)| (name(original), (original.as_str(), tensor)));
        Self { by_name: tensors.collect() }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    pub fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.by_name.get(name).map(|(_, tensor)| *tensor)
    }

    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensor(name).map(|tensor| tensor.shape.as_slice())
    }

    /// The name in the state dict.
    pub fn original(&self, name: &str) -> Option<&'a str> {
        self.by_name.get(name).map(|(original, _)| *original)
    }
}
