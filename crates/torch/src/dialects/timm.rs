//! timm's names.

use super::{Base, Dialect, Layout, Numerics, Tensors, torchvision};

pub(crate) const TIMM: Dialect = Dialect {
    name: "timm",
    module,
    as_conv: |_, base| matches!(base, Base::Block(_, "se.fc1" | "se.fc2") | Base::HeadSe(_) | Base::Hidden),
    tensors: Tensors::Torch,
    // Names with `tf_` in front have others: see `arch`.
    numerics: |_| Numerics { eps: 1e-5, same: false },
};

fn module(net: &Layout<'_>, base: Base<'_>, bn: bool) -> Option<String> {
    if net.is_resnet() {
        return torchvision::resnet(base, bn);
    }
    let last = net.stage_count();
    Some(match base {
        Base::Stem => if bn { "bn1" } else { "conv_stem" }.to_owned(),
        Base::Block(block, part) => {
            let (stage, repeat) = net.stage(block)?;
            let (expand, depthwise, project) = if net.has(block, "expand") {
                (["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"])
            } else {
                (["", ""], ["conv_dw", "bn1"], ["conv_pw", "bn2"])
            };
            let layer = match part {
                "expand" => expand[usize::from(bn)],
                "depthwise" => depthwise[usize::from(bn)],
                "project" => project[usize::from(bn)],
                "se.fc1" => "se.conv_reduce",
                "se.fc2" => "se.conv_expand",
                _ => return None,
            };
            format!("blocks.{stage}.{repeat}.{layer}")
        }
        Base::Head if net.is_v3() => format!("blocks.{last}.0.{}", if bn { "bn1" } else { "conv" }),
        Base::Head => if bn { "bn2" } else { "conv_head" }.to_owned(),
        Base::HeadSe("se.fc1") => format!("blocks.{last}.0.se.conv_reduce"),
        Base::HeadSe("se.fc2") => format!("blocks.{last}.0.se.conv_expand"),
        Base::Hidden => "conv_head".to_owned(),
        Base::Classifier => "classifier".to_owned(),
        _ => torchvision::keypoints(base, bn)?,
    })
}
