//! MobileNetV2 as `keras.applications` names and stores it: kernels `[h, w, i, o]`, depthwise kernels `[h, w, c, 1]`, dense
//! kernels `[i, o]`. Separators and endings differ between exporters (`Conv1/kernel:0`, `Conv1.kernel`,
//! `Conv1/Conv1/kernel:0`): [`canonical`] makes one form of them.

use dyconv_graph::{Node, Op};

use super::{Base, Dialect, Foreign, Form, Layout, Numerics, Tensors};

pub(crate) const KERAS: Dialect = Dialect {
    name: "keras",
    module,
    as_conv: |_, _| false,
    tensors: Tensors::Keras,
    numerics: |_| Numerics { eps: 1e-3, same: true },
};

/// The form of a name that [`tensor`] produces.
pub(crate) fn canonical(name: &str) -> String {
    let name = name.rsplit_once(':').map_or(name, |(rest, _)| rest).replace('/', ".");
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('.') {
        let part = if part == "depthwise_kernel" { "kernel" } else { part };
        let part = if part == "Logits" { "predictions" } else { part };
        if parts.last() != Some(&part) {
            parts.push(part);
        }
    }
    parts.join(".")
}

fn module(net: &Layout<'_>, base: Base<'_>, bn: bool) -> Option<String> {
    if net.family != "mobilenet_v2" {
        return None;
    }
    Some(match base {
        Base::Stem => if bn { "bn_Conv1" } else { "Conv1" }.to_owned(),
        Base::Block(block, part) => {
            let end = if bn { "_BN" } else { "" };
            match block {
                0 => format!("expanded_conv_{part}{end}"),
                block => format!("block_{block}_{part}{end}"),
            }
        }
        Base::Head => if bn { "Conv_1_bn" } else { "Conv_1" }.to_owned(),
        Base::Classifier => "predictions".to_owned(),
        _ => return None,
    })
}

/// A tensor of a layer.
pub(super) fn tensor(module: &str, node: &Node, parameter: &str) -> Foreign {
    let (name, form) = match (&node.op, parameter) {
        (Op::BatchNorm { .. }, "weight") => ("gamma", Form::Same),
        (Op::BatchNorm { .. }, "bias") => ("beta", Form::Same),
        (Op::BatchNorm { .. }, "running_mean") => ("moving_mean", Form::Same),
        (Op::BatchNorm { .. }, "running_var") => ("moving_variance", Form::Same),
        (Op::Conv(conv), "weight") if conv.groups > 1 => ("kernel", Form::Depthwise),
        (Op::Conv(_), "weight") => ("kernel", Form::Hwio),
        (_, "weight") => ("kernel", Form::Transposed),
        (_, other) => (other, Form::Same),
    };
    Foreign { name: format!("{module}.{name}"), form }
}
