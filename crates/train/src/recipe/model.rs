//! The `model` table of a recipe: the options of the network, and settings that are resolved when the data are known.

use std::fmt;

use dyconv_graph::RouterInit;
use dyconv_models::Options;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Images up to this side get the small stem by default.
pub(crate) const SMALL_SIDE: usize = 64;

/// The network. Each key of [`Options`] that does not depend on the data is a key of this table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRecipe {
    /// Name of the architecture.
    pub name: String,
    /// Size of the input; unset: that of the data, or the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<ImageSize>,
    /// Whether to use the stem for small images; unset: if the images are small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_stem: Option<bool>,
    /// Initialisation of the routers.
    pub router_init: RouterInit,
    /// The other options; those that the data determine (classes, joints, channels, size, stem) are not read from here.
    #[serde(flatten)]
    pub options: Options,
}

/// Size of the network's input in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a side in pixels, or [height, width]")]
pub enum ImageSize {
    /// A square.
    Side(usize),
    /// Height and width.
    Sides([usize; 2]),
}

impl ImageSize {
    /// Height and width.
    pub fn sides(self) -> [usize; 2] {
        match self {
            Self::Side(side) => [side, side],
            Self::Sides(sides) => sides,
        }
    }
}

/// Implemented by hand, because serde's `flatten` neither rejects unknown keys nor keeps the path of a wrong value.
impl<'de> Deserialize<'de> for ModelRecipe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Section)
    }
}

struct Section;

impl<'de> Visitor<'de> for Section {
    type Value = ModelRecipe;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ModelRecipe, A::Error> {
        let mut own = Own::default();
        let options = Options::deserialize(MapAccessDeserializer::new(Split { map, own: &mut own }))?;
        Ok(ModelRecipe {
            name: own.name.ok_or_else(|| Error::missing_field("name"))?,
            image_size: own.image_size,
            small_stem: own.small_stem,
            router_init: own.router_init.ok_or_else(|| Error::missing_field("router_init"))?,
            options,
        })
    }
}

/// The keys that are not options of the network.
#[derive(Default)]
struct Own {
    name: Option<String>,
    image_size: Option<ImageSize>,
    small_stem: Option<bool>,
    router_init: Option<RouterInit>,
}

/// Passes the keys of [`Options`] on, and keeps the others.
struct Split<'a, A> {
    map: A,
    own: &'a mut Own,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Split<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match key.as_str() {
                "name" => self.own.name = Some(self.map.next_value()?),
                "image_size" => self.own.image_size = Some(self.map.next_value()?),
                "small_stem" => self.own.small_stem = Some(self.map.next_value()?),
                "router_init" => self.own.router_init = Some(self.map.next_value()?),
                option => return seed.deserialize(option.into_deserializer()).map(Some),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::recipe::errors::documented_keys;

    /// A recipe's table with every key.
    fn full() -> ModelRecipe {
        ModelRecipe {
            name: "resnet10".into(),
            image_size: Some(ImageSize::Side(32)),
            small_stem: Some(true),
            router_init: RouterInit::Small,
            options: Options { width: Some(0.5), dropout: Some(0.25), ..Options::default() },
        }
    }

    fn keys() -> Vec<String> {
        toml::Table::try_from(full()).unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_option_stands_in_the_commented_defaults() {
        let documented: Vec<String> = documented_keys().collect();
        for key in keys() {
            assert!(documented.contains(&format!("model.{key}")), "`model.{key}` is missing in recipes/default.toml");
        }
        assert_eq!(documented.iter().filter(|key| key.starts_with("model.")).count(), keys().len());
        let usual = Recipe::resolve(None, None, &[]).unwrap().model;
        assert_eq!(usual.options, Options::default(), "recipes/default.toml has another default");
    }

    #[test]
    fn a_table_comes_back_from_its_text() {
        let text = toml::to_string(&full()).unwrap();
        assert_eq!(toml::from_str::<ModelRecipe>(&text).unwrap(), full());
    }

    #[test]
    fn options_of_dynamic_networks_are_options() {
        for key in Options::OF_DYNAMIC {
            assert!(keys().iter().any(|k| k == key), "{key}");
        }
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let says = |key: &str, value: &str, expected: &str| {
            let error = Recipe::resolve(None, None, &[(key.into(), value.into())]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        says("model.kernel", "3", "unknown key `model.kernel`; did you mean `model.kernels`?");
        says("model.nam", "x", "unknown key `model.nam`; did you mean `model.name`?");
        says("model.classes", "3", "unknown key `model.classes`");
        says("model.kernels", "x", "`model.kernels`: expected a whole number from 0, got the text \"x\"");
        says("model.dynamic_parts.expand", "3", "`model.dynamic_parts.expand`: expected true or false");
        says("model.image_size", "[1, 2, 3]", "`model.image_size`");
        says("model", "3", "`model`: expected a table");
    }
}
