//! The built-in recipes.

/// A named recipe.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its name, as `Recipe::resolve` takes it.
    pub name: &'static str,
    /// The TOML text, with a description in its first line; keys that it omits keep their defaults.
    pub text: &'static str,
}

macro_rules! recipe {
    ($name:literal) => {
        BuiltIn { name: $name, text: include_str!(concat!("../../recipes/", $name, ".toml")) }
    };
}

/// The commented defaults, the content of `recipes/default.toml`.
pub(crate) const DEFAULT: &str = DEFAULTS.text;
const DEFAULTS: BuiltIn = recipe!("default");

/// Every built-in recipe, the defaults first.
pub const BUILT_IN: &[BuiltIn] = &[
    DEFAULTS,
    recipe!("digits"),
    recipe!("cifar"),
    recipe!("finetune"),
    recipe!("imagenet-mobilenet-v2"),
    recipe!("imagenet-mobilenet-v3"),
    recipe!("imagenet-resnet"),
    recipe!("glyphs-rn4"),
    recipe!("glyphs-mb4"),
    recipe!("coco-pose"),
    recipe!("figures"),
];

impl BuiltIn {
    /// The text of the first comment.
    pub fn description(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}
