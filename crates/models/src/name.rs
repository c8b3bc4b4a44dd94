//! Names such as `dy_mobilenet_v2_x0_5`: `dy_` for dynamic, the family, the width multiplier.

use std::str::FromStr;

use crate::{ALL, FAMILIES, Family, ModelError};

/// A parsed model name.
#[derive(Clone, Copy)]
pub struct ModelName {
    /// The architecture.
    pub family: &'static Family,
    /// Whether the name began with `dy_`.
    pub dynamic: bool,
    /// Width multiplier; 1 where the name has none.
    pub width: f64,
}

impl FromStr for ModelName {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let (dynamic, rest) = name.strip_prefix("dy_").map_or((false, name), |rest| (true, rest));
        let (family, width) = split_width(rest);
        let found = FAMILIES.iter().find(|f| f.name == family);
        match (found, width) {
            (Some(family), Some(width)) => Ok(Self { family, dynamic, width }),
            _ => Err(ModelError::Unknown { name: name.to_owned(), suggestion: nearest_model(name) }),
        }
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
    let known: Vec<String> = known.collect();
    suggest(name, known.iter().map(String::as_str)).unwrap_or(ALL[0]).to_owned()
}

/// The candidate nearest to `word` by edit distance.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates.into_iter().min_by_key(|c| strsim::damerau_levenshtein(word, c))
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
    fn unknown_names_suggest_the_nearest() {
        let suggestion = |name: &str| match name.parse::<ModelName>() {
            Err(ModelError::Unknown { suggestion, .. }) => suggestion,
            _ => panic!("{name} parsed"),
        };
        assert_eq!(suggestion("resnet81"), "resnet18");
        assert_eq!(suggestion("dy_mobilenetv2_x1_0"), "dy_mobilenet_v2_x1_0");
        assert_eq!(suggestion("dy_mobilenet_v3_smal"), "dy_mobilenet_v3_small");
        assert_eq!(suggestion("mobilenet_v2_x0_x"), "mobilenet_v2_x0_5");
    }
}
