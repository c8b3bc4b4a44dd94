//! Names such as `dy_mobilenet_v2_x0_5`: `dy_` for dynamic, the family, the width multiplier. A keypoint network has the prefix
//! `pose_` and the letter of its head as suffix: `pose_dy_mobilenet_v2_x0_5_b`.

use std::str::FromStr;

use dyconv_graph::words::suggest;

use crate::error::ModelError;
use crate::families::{ALL, FAMILIES, Family, pose_names};
use crate::pose::Head;

/// A parsed model name.
#[derive(Clone, Copy)]
pub struct ModelName {
    /// The architecture.
    pub family: &'static Family,
    /// Whether the name has `dy_` before the family.
    pub dynamic: bool,
    /// Width multiplier; 1 if the name has none.
    pub width: f64,
    /// The head of a keypoint network; `None` for a classifier.
    pub head: Option<Head>,
}

impl ModelName {
    /// The usual height and width of the input images, in pixels.
    pub fn image_size(&self) -> [usize; 2] {
        if self.head.is_some() { [256, 192] } else { [self.family.image_size; 2] }
    }
}

/// The name of the dynamic form of a static network.
pub fn dynamic_form(name: &str) -> String {
    match name.strip_prefix("pose_") {
        Some(rest) => format!("pose_dy_{rest}"),
        None => format!("dy_{name}"),
    }
}

/// The name of the same network without attention; `None` if the network is static already.
pub fn static_twin(name: &str) -> Option<String> {
    match name.strip_prefix("pose_") {
        Some(rest) => rest.strip_prefix("dy_").map(|rest| format!("pose_{rest}")),
        None => name.strip_prefix("dy_").map(str::to_owned),
    }
}

impl FromStr for ModelName {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let (pose, rest) = name.strip_prefix("pose_").map_or((false, name), |rest| (true, rest));
        let (dynamic, rest) = rest.strip_prefix("dy_").map_or((false, rest), |rest| (true, rest));
        let (rest, head) = if pose { split_head(rest) } else { (rest, None) };
        let (family, width) = split_width(rest);
        let found = FAMILIES.iter().find(|f| f.name == family);
        match (found, width) {
            (Some(family), Some(width)) if pose == head.is_some() => Ok(Self { family, dynamic, width, head }),
            _ => Err(ModelError::Unknown { name: name.to_owned(), suggestion: nearest_model(name) }),
        }
    }
}

/// Splits off the letter of the head.
fn split_head(name: &str) -> (&str, Option<Head>) {
    match name.rsplit_once('_') {
        Some((rest, "a")) => (rest, Some(Head::Deconvolution)),
        Some((rest, "b")) => (rest, Some(Head::Bottleneck)),
        _ => (name, None),
    }
}

/// Splits `mobilenet_v2_x0_5` into the family and 0.5; no suffix is width 1, a malformed one is `None`.
fn split_width(name: &str) -> (&str, Option<f64>) {
    match name.rsplit_once("_x") {
        Some((family, digits)) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            (family, digits.replacen('_', ".", 1).parse().ok())
        }
        _ => (name, Some(1.0)),
    }
}

fn nearest_model(name: &str) -> String {
    let known = ALL.iter().flat_map(|n| [(*n).to_owned(), format!("dy_{n}")]);
    let known = known.chain(FAMILIES.iter().flat_map(|f| [f.name.to_owned(), format!("dy_{}", f.name)]));
    let known = known.chain(pose_names().flat_map(|n| [dynamic_form(&n), n]));
    let known: Vec<String> = known.collect();
    suggest(name, known.iter().map(String::as_str)).unwrap_or(ALL[0]).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_dynamic_and_width() {
        let name: ModelName = "dy_mobilenet_v2_x0_35".parse().unwrap();
        assert_eq!((name.family.name, name.dynamic, name.width), ("mobilenet_v2", true, 0.35));
        let name: ModelName = "resnet18".parse().unwrap();
        assert_eq!((name.family.name, name.dynamic, name.width), ("resnet18", false, 1.0));
        assert_eq!("mobilenet_v2_x2".parse::<ModelName>().ok().map(|n| n.width), Some(2.0));
    }

    #[test]
    fn names_of_keypoint_networks_end_with_the_head() {
        let name: ModelName = "pose_dy_mobilenet_v2_x0_5_b".parse().unwrap();
        assert_eq!((name.family.name, name.dynamic, name.width), ("mobilenet_v2", true, 0.5));
        assert_eq!((name.head, name.image_size()), (Some(Head::Bottleneck), [256, 192]));
        let name: ModelName = "pose_resnet18_a".parse().unwrap();
        assert_eq!((name.family.name, name.dynamic, name.head), ("resnet18", false, Some(Head::Deconvolution)));
        for wrong in ["pose_resnet18", "resnet18_a", "pose_resnet18_c", "dy_pose_resnet18_a"] {
            assert!(wrong.parse::<ModelName>().is_err(), "{wrong}");
        }
        for twin in pose_names().chain(ALL.iter().map(|n| (*n).to_owned())) {
            let dynamic = dynamic_form(&twin);
            assert!(dynamic.parse::<ModelName>().is_ok_and(|n| n.dynamic), "{dynamic}");
            assert_eq!((static_twin(&dynamic).as_ref(), static_twin(&twin)), (Some(&twin), None));
        }
    }

    #[test]
    fn unknown_names_suggest_the_nearest() {
        let suggestion = |name: &str| match name.parse::<ModelName>() {
            Err(ModelError::Unknown { suggestion, .. }) => suggestion,
            _ => panic!("{name} parsed"),
        };
        assert_eq!(suggestion("resnet81"), "resnet18");
        assert_eq!(suggestion("pose_dy_resnet18"), "pose_dy_resnet18_a");
        assert_eq!(suggestion("dy_mobilenetv2_x1_0"), "dy_mobilenet_v2_x1_0");
        assert_eq!(suggestion("dy_mobilenet_v3_smal"), "dy_mobilenet_v3_small");
        assert_eq!(suggestion("mobilenet_v2_x0_x"), "mobilenet_v2_x0_5");
        let long = "resnet18_".to_owned() + &"é".repeat(1 << 20);
        let error = long.parse::<ModelName>().map(|_| ()).unwrap_err().to_string();
        assert!(error.len() < 400 && error.contains("unknown model `resnet18_éé"), "{error}");
    }
}
