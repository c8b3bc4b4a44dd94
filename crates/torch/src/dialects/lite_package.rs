//! EfficientNet-Lite as the PyPI package `efficientnet_lite_pytorch` names it. Its weights come from TensorFlow.

use super::{Base, Dialect, Layout, Numerics, Tensors};

pub(crate) const LITE_PACKAGE: Dialect = Dialect {
    name: "efficientnet-lite-pytorch",
    module,
    as_conv: |_, _| false,
    tensors: Tensors::Torch,
    numerics: |_| Numerics { eps: 1e-3, same: true },
};

fn module(net: &Layout<'_>, base: Base<'_>, bn: bool) -> Option<String> {
    if !net.is_lite() {
        return None;
    }
    let either = |conv: &'static str, norm: &'static str| if bn { norm } else { conv };
    Some(match base {
        Base::Stem => either("_conv_stem", "_bn0").to_owned(),
        Base::Block(block, part) => {
            let layer = match part {
                "expand" => either("_expand_conv", "_bn0"),
                "depthwise" => either("_depthwise_conv", "_bn1"),
                "project" => either("_project_conv", "_bn2"),
                _ => return None,
            };
            format!("_blocks.{block}.{layer}")
        }
        Base::Head => either("_conv_head", "_bn1").to_owned(),
        Base::Classifier => "_fc".to_owned(),
        _ => return None,
    })
}
