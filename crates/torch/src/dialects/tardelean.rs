//! The networks of the repository `TArdelean/DynamicConvolution`, whose names come from two widely used re-implementations,
//! and its dynamic layers: `kernels_weights` `[K, o, i, h, w]`, `kernels_bias` `[K, o]`, and two linear layers.

use super::{Bank, Base, Dialect, Layout, Numerics, Tensors, torchvision};

pub(crate) const TARDELEAN: Dialect = Dialect {
    name: "tardelean",
    module,
    as_conv: |_, _| false,
    tensors: Tensors::Torch,
    numerics: |_| Numerics { eps: 1e-5, same: false },
};

/// Its dynamic layers.
pub(crate) const BANK: Bank = Bank {
    name: "tardelean",
    weight: "kernels_weights",
    bias: "kernels_bias",
    layers: ["attention.to_scores.0", "attention.to_scores.2"],
    as_conv: false,
    flat: false,
};

fn module(net: &Layout<'_>, base: Base<'_>, bn: bool) -> Option<String> {
    let layer = usize::from(bn);
    if net.is_resnet() {
        return match base {
            Base::Residual(block, "shortcut") => Some(format!("{block}.shortcut.{layer}")),
            Base::Classifier => Some("linear".to_owned()),
            _ => torchvision::resnet(base, bn),
        };
    }
    if !net.is_v2() {
        return None;
    }
    Some(match base {
        Base::Stem => format!("features.0.{layer}"),
        Base::Block(block, part) => {
            let expands = if net.has(block, "expand") { 3 } else { 0 };
            let place = match part {
                "expand" => 0,
                "depthwise" => expands,
                "project" => expands + 3,
                _ => return None,
            };
            format!("features.{}.conv.{}", block + 1, place + layer)
        }
        Base::Head => format!("conv.{layer}"),
        Base::Classifier => "classifier".to_owned(),
        _ => torchvision::keypoints(base, bn)?,
    })
}
