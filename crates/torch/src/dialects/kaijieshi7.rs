//! The dynamic layers of the repository `kaijieshi7/Dynamic-convolution-Pytorch`, inside networks with torchvision's or any
//! other names: `weight` `[K, o, i, h, w]`, `bias` `[K, o]`, and two 1×1 convolutions. The temperature is not in its files.
//! Layers that we export are stored like this, too.

use super::Bank;

pub(crate) const BANK: Bank = Bank {
    name: "kaijieshi7",
    weight: "weight",
    bias: "bias",
    layers: ["attention.fc1", "attention.fc2"],
    as_conv: true,
    flat: false,
};
