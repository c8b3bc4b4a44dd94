//! Names of architectures: ours, torchvision's and timm's.

use dyconv_graph::words::suggest;
use dyconv_graph::{Graph, Op};
use dyconv_models::{ALL, FAMILIES, Family, ModelName, dynamic_form};

use crate::dialects::Numerics;
use crate::error::TorchError;

/// An architecture that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub family: &'static Family,
    /// The width, if the name says one.
    pub width: Option<f64>,
    /// Set by names of ports from TensorFlow.
    pub numerics: Option<Numerics>,
}

/// torchvision's and timm's names; their widths are in percent behind the last underscore, or part of the name.
#[rustfmt::skip]
const FOREIGN: [(&str, &str, f64); 19] = [
    ("mobilenet_v2", "mobilenet_v2", 1.0),
    ("mobilenet_v3_small", "mobilenet_v3_small", 1.0),
    ("mobilenet_v3_large", "mobilenet_v3_large", 1.0),
    ("mobilenetv2_035", "mobilenet_v2", 0.35),
    ("mobilenetv2_050", "mobilenet_v2", 0.5),
    ("mobilenetv2_075", "mobilenet_v2", 0.75),
    ("mobilenetv2_100", "mobilenet_v2", 1.0),
    ("mobilenetv2_140", "mobilenet_v2", 1.4),
    ("mobilenetv3_small_050", "mobilenet_v3_small", 0.5),
    ("mobilenetv3_small_075", "mobilenet_v3_small", 0.75),
    ("mobilenetv3_small_100", "mobilenet_v3_small", 1.0),
    ("mobilenetv3_large_075", "mobilenet_v3_large", 0.75),
    ("mobilenetv3_large_100", "mobilenet_v3_large", 1.0),
    ("tv_resnet50", "resnet50", 1.0),
    ("efficientnet-lite0", "efficientnet_lite0", 1.0),
    ("efficientnet-lite1", "efficientnet_lite1", 1.0),
    ("efficientnet-lite2", "efficientnet_lite2", 1.0),
    ("efficientnet-lite3", "efficientnet_lite3", 1.0),
    ("efficientnet-lite4", "efficientnet_lite4", 1.0),
];

/// What TensorFlow's networks compute with.
const TENSORFLOW: Numerics = Numerics { eps: 1e-3, same: true };

/// Finds an architecture by its name in any of the three libraries; a repository and a tag around it are ignored
/// (`timm/resnet18.a1_in1k`).
pub(crate) fn find(name: &str) -> Result<Known, TorchError> {
    let bare = name.rsplit('/').next().unwrap_or(name);
    let bare = bare.rsplit(':').next().unwrap_or(bare);
    let bare = bare.split('.').next().unwrap_or(bare);
    let (bare, numerics) = match bare.strip_prefix("tf_") {
        Some(rest) => (rest, Some(TENSORFLOW)),
        None => (bare, None),
    };
    let family = |name: &str| FAMILIES.iter().find(|f| f.name == name);
    if let Some((_, ours, width)) = FOREIGN.iter().find(|(foreign, ..)| *foreign == bare)
        && let Some(family) = family(ours)
    {
        // Names without a width also stand for networks of other widths.
        let width = bare.ends_with(|c: char| c.is_ascii_digit()).then_some(*width);
        return Ok(Known { family, width: width.filter(|_| bare.starts_with("mobilenetv")), numerics });
    }
    match bare.parse::<ModelName>() {
        Ok(found) if found.head.is_none() || bare == name => {
            Ok(Known { family: found.family, width: bare.contains("_x").then_some(found.width), numerics })
        }
        _ => Err(unknown(name, bare)),
    }
}

fn unknown(name: &str, bare: &str) -> TorchError {
    let known = FOREIGN.iter().map(|(foreign, ..)| *foreign).chain(ALL.iter().copied());
    let suggestion = suggest(bare, known.chain(FAMILIES.iter().map(|f| f.name))).unwrap_or(ALL[0]).to_owned();
    TorchError::Architecture { name: name.to_owned(), suggestion }
}

/// timm's name of a network of ours that it can build, for the same numbers.
pub(crate) fn timm_name(arch: &str, graph: &Graph) -> Option<String> {
    let name: ModelName = arch.parse().ok()?;
    if name.dynamic || name.head.is_some() || graph.dynamic_layers() > 0 {
        return None;
    }
    let family = name.family.name;
    let same = graph.nodes().iter().any(|n| matches!(&n.op, Op::Conv(conv) if conv.end_padding.is_some()));
    let plain = match family {
        "resnet18" | "resnet50" if name.width == 1.0 => family,
        lite if lite.starts_with("efficientnet_lite") && name.width == 1.0 => lite,
        _ => {
            let of_timm = |entry: &&(&'static str, &str, f64)| {
                entry.0.starts_with("mobilenetv") && entry.1 == family && entry.2 == name.width
            };
            FOREIGN.iter().find(of_timm)?.0
        }
    };
    Some(if same { format!("tf_{plain}") } else { plain.to_owned() })
}

/// Our name of a network.
pub(crate) fn our_name(family: &str, width: f64, dynamic: bool) -> String {
    let width = format!("{width}");
    let name = match (family, width.as_str()) {
        ("mobilenet_v2", "1") => "mobilenet_v2_x1_0".to_owned(),
        (family, "1") => family.to_owned(),
        (family, width) => format!("{family}_x{}", width.replacen('.', "_", 1)),
    };
    if dynamic { dynamic_form(&name) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_three_libraries_are_known() {
        let of = |name: &str| find(name).map(|k| (k.family.name, k.width, k.numerics.is_some())).ok();
        assert_eq!(of("timm/mobilenetv3_small_075.lamb_in1k"), Some(("mobilenet_v3_small", Some(0.75), false)));
        assert_eq!(of("hf_hub:timm/tf_efficientnet_lite4.in1k"), Some(("efficientnet_lite4", None, true)));
        assert_eq!(of("tf_mobilenetv3_large_100"), Some(("mobilenet_v3_large", Some(1.0), true)));
        assert_eq!(of("mobilenet_v2"), Some(("mobilenet_v2", None, false)));
        assert_eq!(of("dy_mobilenet_v2_x0_5"), Some(("mobilenet_v2", Some(0.5), false)));
        assert_eq!(of("resnet18"), Some(("resnet18", None, false)));
        let error = find("resnet81").map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, "unknown architecture `resnet81`; did you mean `resnet18`?");
    }

    #[test]
    fn our_names_parse_again() {
        for (family, width) in [("mobilenet_v2", 1.0), ("resnet18", 1.0), ("mobilenet_v3_large", 0.75), ("mb4", 2.0)] {
            let found: ModelName = our_name(family, width, true).parse().unwrap();
            assert_eq!((found.family.name, found.width, found.dynamic), (family, width, true));
        }
    }
}
