//! torchvision's names. ResNets are called the same by timm, and keypoint heads as in *Simple Baselines*.

use super::{Base, Dialect, Layout, Numerics, Tensors};

pub(crate) const TORCHVISION: Dialect = Dialect {
    name: "torchvision",
    module,
    as_conv: |_, base| matches!(base, Base::Block(_, "se.fc1" | "se.fc2") | Base::HeadSe(_)),
    tensors: Tensors::Torch,
    numerics: |family| Numerics {
        eps: if family.starts_with("mobilenet_v3") { 1e-3 } else { eps(family) },
        same: false,
    },
};

/// EfficientNet-Lite, which torchvision does not have, keeps that of TensorFlow.
fn eps(family: &str) -> f32 {
    if family.starts_with("efficientnet") { 1e-3 } else { 1e-5 }
}

fn module(net: &Layout<'_>, base: Base<'_>, bn: bool) -> Option<String> {
    if net.is_resnet() {
        return resnet(base, bn);
    }
    let layer = usize::from(bn);
    Some(match base {
        Base::Stem => format!("features.0.{layer}"),
        Base::Head => {
            let last = if net.is_lite() { net.stage_count() } else { net.blocks() };
            format!("features.{}.{layer}", last + 1)
        }
        Base::Block(block, part) if net.is_v2() => v2(net, block, part, bn)?,
        Base::Block(block, part) => {
            let place = if net.is_lite() {
                let (stage, repeat) = net.stage(block)?;
                format!("features.{}.{repeat}.block", stage + 1)
            } else {
                format!("features.{}.block", block + 1)
            };
            inverted(net, block, part, layer, &place)?
        }
        Base::HeadSe(part) => format!("features.{}.{}", net.blocks() + 2, part.strip_prefix("se.")?),
        Base::Hidden => "classifier.0".to_owned(),
        Base::Classifier if net.is_v3() => "classifier.3".to_owned(),
        Base::Classifier => "classifier.1".to_owned(),
        _ => keypoints(base, bn)?,
    })
}

fn v2(net: &Layout<'_>, block: usize, part: &str, bn: bool) -> Option<String> {
    let expands = usize::from(net.has(block, "expand"));
    let place = format!("features.{}.conv", block + 1);
    Some(match part {
        "expand" => format!("{place}.0.{}", usize::from(bn)),
        "depthwise" => format!("{place}.{expands}.{}", usize::from(bn)),
        "project" => format!("{place}.{}", expands + 1 + usize::from(bn)),
        _ => return None,
    })
}

fn inverted(net: &Layout<'_>, block: usize, part: &str, layer: usize, place: &str) -> Option<String> {
    let expands = usize::from(net.has(block, "expand"));
    let squeezes = usize::from(net.has(block, "se.fc1"));
    Some(match part {
        "expand" => format!("{place}.0.{layer}"),
        "depthwise" => format!("{place}.{expands}.{layer}"),
        "se.fc1" => format!("{place}.{}.fc1", expands + 1),
        "se.fc2" => format!("{place}.{}.fc2", expands + 1),
        "project" => format!("{place}.{}.{layer}", expands + 1 + squeezes),
        _ => return None,
    })
}

pub(super) fn resnet(base: Base<'_>, bn: bool) -> Option<String> {
    Some(match base {
        Base::Stem => if bn { "bn1" } else { "conv1" }.to_owned(),
        Base::Residual(block, "shortcut") => format!("{block}.downsample.{}", usize::from(bn)),
        Base::Residual(block, conv) if bn => format!("{block}.bn{}", conv.strip_prefix("conv")?),
        Base::Residual(block, conv) => format!("{block}.{conv}"),
        Base::Classifier => "fc".to_owned(),
        _ => keypoints(base, bn)?,
    })
}

/// The head of *Simple Baselines*; what has no other name keeps ours.
pub(super) fn keypoints(base: Base<'_>, bn: bool) -> Option<String> {
    Some(match base {
        Base::Deconvolution(i) => format!("deconv_layers.{}", 3 * i + usize::from(bn)),
        Base::Heatmaps => "final_layer".to_owned(),
        Base::Other(name) if bn => format!("{name}.bn"),
        Base::Other(name) => name.to_owned(),
        _ => return None,
    })
}
