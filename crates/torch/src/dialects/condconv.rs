//! timm's conditional convolutions (CondConv): a bank stored flat, `[K, o·i·h·w]`, and one router for the three convolutions of
//! an inverted residual block, `routing_fn`: one linear layer on the pooled input of the block, and sigmoids.

use super::{Bank, Foreign, Form, Layout};

pub(crate) const BANK: Bank =
    Bank { name: "condconv", weight: "weight", bias: "bias", layers: ["", ""], as_conv: false, flat: true };

/// The part of a router's name that stands for its only layer.
pub(crate) const LAYER: &str = "routing";

/// The name of the block's router; `block` is ours (`blocks.3`).
pub(crate) fn router(layout: &Layout<'_>, block: &str, parameter: &str) -> Option<Foreign> {
    let (stage, repeat) = layout.stage(block.strip_prefix("blocks.")?.parse().ok()?)?;
    Some(Foreign { name: format!("blocks.{stage}.{repeat}.routing_fn.{parameter}"), form: Form::Same })
}
