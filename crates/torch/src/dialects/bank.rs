//! How dynamic layers are stored.

use super::{Foreign, Form};

/// Names inside the module of a dynamic layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bank {
    pub name: &'static str,
    /// The bank of kernels, `[K, o, i, h, w]`.
    pub weight: &'static str,
    /// The bank of biases, `[K, o]`.
    pub bias: &'static str,
    /// The two layers of the router.
    pub layers: [&'static str; 2],
    /// Whether those are stored as 1×1 convolutions.
    pub as_conv: bool,
    /// Whether each kernel is stored as one row.
    pub flat: bool,
}

impl Bank {
    /// A tensor of the dynamic layer itself.
    pub fn tensor(&self, module: &str, parameter: &str) -> Foreign {
        let name = if parameter == "bias" { self.bias } else { self.weight };
        let form = if self.flat && parameter == "weight" { Form::Flat } else { Form::Same };
        Foreign { name: format!("{module}.{name}"), form }
    }

    /// A tensor of the router's `fc1` or `fc2`.
    pub fn router(&self, module: &str, part: &str, parameter: &str) -> Option<Foreign> {
        let layer = match part {
            "fc1" => self.layers[0],
            "fc2" => self.layers[1],
            _ => return None,
        };
        let form = if self.as_conv && parameter == "weight" { Form::Conv1x1 } else { Form::Same };
        Some(Foreign { name: format!("{module}.{layer}.{parameter}"), form })
    }

    /// The name of the temperature, a scalar beside the router's layers, if `name` is that of the weight of its `fc2`.
    pub fn temperature(&self, name: &str) -> Option<String> {
        let router = name.strip_suffix(".weight")?.strip_suffix(self.layers[1])?;
        let parent = self.layers[1].rsplit_once('.').map_or(String::new(), |(parent, _)| format!("{parent}."));
        Some(format!("{router}{parent}tau"))
    }
}
