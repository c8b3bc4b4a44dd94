//! Our own dynamic layers in PyTorch (`docs/from-pytorch.md`, `golden/generate.py`): a bank `weight` `[K, o, i, h, w]`, and a
//! router of two linear layers.

use super::Bank;

pub(crate) const BANK: Bank = Bank {
    name: "dyconv",
    weight: "weight",
    bias: "bias",
    layers: ["router.fc1", "router.fc2"],
    as_conv: false,
    flat: false,
};
