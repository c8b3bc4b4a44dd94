//! Recipes: short TOML over commented defaults. Every key can be set on the command line; unknown keys are errors.

use std::collections::BTreeMap;

use dyconv_graph::{Gate, RouterInit};
use dyconv_models::{DynamicParts, suggest};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The commented defaults, as they stand in `recipes/default.toml`.
pub(crate) const DEFAULT: &str = include_str!("../../../recipes/default.toml");
/// Built-in recipes by name: what each changes of the defaults.
pub(crate) const BUILT_IN: &[(&str, &str)] = &[("digits", include_str!("../../../recipes/digits.toml"))];

/// Everything that decides a training run, but the data and the output folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of the split, the first weights, the order of images and their augmentation.
    pub seed: u64,
    /// The network.
    pub model: ModelRecipe,
    /// Reading the data.
    pub data: DataRecipe,
    /// What varies in training images.
    pub augment: AugmentRecipe,
    /// The optimiser and its schedule.
    pub train: TrainRecipe,
    /// The temperature τ of the routers.
    pub temperature: TemperatureRecipe,
}

/// The network; see [`dyconv_models::Options`] for the meaning of each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are those of `dyconv_models::Options`, commented in `recipes/default.toml`"
)]
pub struct ModelRecipe {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
    pub kernels: usize,
    pub layer_kernels: BTreeMap<String, usize>,
    pub reduction: usize,
    pub min_hidden: usize,
    pub gate: Gate,
    pub router_init: RouterInit,
    pub dynamic_parts: DynamicParts,
    pub dynamic_head: bool,
    pub dynamic_shortcut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small_stem: Option<bool>,
    pub se: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
}

/// Reading the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Share held out where the data have no split of their own.
    pub val_fraction: f32,
    /// Broken images that are skipped before the run stops.
    pub max_broken: usize,
    /// Decoding threads; 0 is one per processor.
    pub threads: usize,
    /// Mean per channel on the scale 0 to 1; empty for the usual one.
    pub mean: Vec<f32>,
    /// Deviation per channel on the scale 0 to 1; empty for the usual one.
    pub std: Vec<f32>,
}

/// What varies in training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentRecipe {
    /// Bounds of the random resized crop's area; `[1, 1]` is none.
    pub crop_scale: [f32; 2],
    /// Bounds of its aspect.
    pub crop_ratio: [f32; 2],
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Random shift in pixels.
    pub shift: usize,
}

/// The optimiser (SGD) and its schedule (linear warm-up, then cosine to 0, per iteration).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Peak of the learning rate.
    pub lr: f64,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f64,
    /// Momentum with PyTorch's meaning.
    pub momentum: f64,
    /// Nesterov's form of it.
    pub nesterov: bool,
    /// Weight decay of all weights, added to the gradient.
    pub weight_decay: f32,
    /// Probability mass spread over all classes.
    pub label_smoothing: f32,
    /// Minutes between two checkpoints within an epoch.
    pub checkpoint_minutes: f64,
    /// Iterations between two checkpoints within an epoch; 0: only time counts.
    pub checkpoint_steps: usize,
    /// Iterations between two lines of metrics.
    pub log_steps: usize,
}

/// The temperature τ of the routers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemperatureRecipe {
    /// How τ moves.
    pub schedule: TemperatureSchedule,
    /// First τ of a linear schedule.
    pub start: f32,
    /// Last τ; also that of evaluation.
    pub end: f32,
    /// Epochs after which the end is reached.
    pub epochs: f64,
}

/// How τ moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemperatureSchedule {
    /// From start to end over the first epochs, per iteration (the paper: 30 → 1 over 10).
    Linear,
    /// Always `end`.
    Constant,
}

/// A recipe that cannot be followed: names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("recipe: {0}")]
pub struct RecipeError(String);

fn fail<T>(message: impl Into<String>) -> Result<T, RecipeError> {
    Err(RecipeError(message.into()))
}

impl Recipe {
    /// The defaults, changed by a built-in recipe if one is named, by the text of a recipe file, and by
    /// `key=value` settings, in this order.
    ///
    /// # Errors
    /// An unknown recipe, an unknown key (the nearest one is suggested), or a value out of bounds.
    pub fn resolve(
        built_in: Option<&str>,
        file: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Self, RecipeError> {
        let mut table = parse(DEFAULT)?;
        if let Some(name) = built_in {
            let Some((_, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) else {
                let nearest = suggest(name, BUILT_IN.iter().map(|(n, _)| *n)).unwrap_or_default();
                return fail(format!("no built-in recipe is called `{name}`; did you mean `{nearest}`?"));
            };
            overlay(&mut table, parse(text)?);
        }
        if let Some(text) = file {
            overlay(&mut table, parse(text)?);
        }
        for (key, value) in settings {
            set(&mut table, key, value)?;
        }
        let recipe: Recipe =
            Value::Table(table).try_into().map_err(|e: toml::de::Error| RecipeError(explain(e.message())))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The complete recipe as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is made of tables and plain values")
    }

    fn check(&self) -> Result<(), RecipeError> {
        let t = &self.train;
        let bounds: [(&str, f64, f64, f64); 13] = [
            ("train.epochs", t.epochs as f64, 1.0, 1e6),
            ("train.batch", t.batch as f64, 1.0, 65_536.0),
            ("train.lr", t.lr, 0.0, 1e3),
            ("train.warmup_epochs", t.warmup_epochs, 0.0, 1e6),
            ("train.momentum", t.momentum, 0.0, 0.9999),
            ("train.weight_decay", f64::from(t.weight_decay), 0.0, 1.0),
            ("train.label_smoothing", f64::from(t.label_smoothing), 0.0, 0.99),
            ("train.checkpoint_minutes", t.checkpoint_minutes, 0.0, 1e6),
            ("train.log_steps", t.log_steps as f64, 1.0, 1e9),
            ("temperature.start", f64::from(self.temperature.start), 1e-3, 1e6),
            ("temperature.end", f64::from(self.temperature.end), 1e-3, 1e6),
            ("temperature.epochs", self.temperature.epochs, 0.0, 1e6),
            ("data.val_fraction", f64::from(self.data.val_fraction), 0.0, 0.9),
        ];
        for (key, value, low, high) in bounds {
            if !(low..=high).contains(&value) {
                return fail(format!("`{key}` must lie in {low}..={high}, got {value}"));
            }
        }
        let a = &self.augment;
        let ordered = |[low, high]: [f32; 2]| 0.0 < low && low <= high && high.is_finite();
        if !ordered(a.crop_scale) || a.crop_scale[1] > 1.0 {
            return fail(format!("`augment.crop_scale` needs 0 < low <= high <= 1, got {:?}", a.crop_scale));
        }
        if !ordered(a.crop_ratio) {
            return fail(format!("`augment.crop_ratio` needs 0 < low <= high, got {:?}", a.crop_ratio));
        }
        if !(0.0..=1.0).contains(&a.flip) {
            return fail(format!("`augment.flip` is a probability, got {}", a.flip));
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Table, RecipeError> {
    text.parse::<Table>().map_err(|e| {
        let line = e.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        RecipeError(format!("line {line}: {}", e.message().lines().next().unwrap_or_default()))
    })
}

/// Puts the values of `change` over those of `base`, table by table; `layer_kernels` is replaced as a whole.
fn overlay(base: &mut Table, change: Table) {
    for (key, value) in change {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(change)) if key != "layer_kernels" => overlay(base, change),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// Sets `train.lr` or another dotted key to a value in TOML's notation; a bare word is a string.
fn set(table: &mut Table, key: &str, value: &str) -> Result<(), RecipeError> {
    let parsed = format!("v = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut table = table;
    for part in parts {
        let known: Vec<String> = table.iter().filter(|(_, v)| v.is_table()).map(|(k, _)| k.clone()).collect();
        match table.get_mut(part) {
            Some(Value::Table(inner)) => table = inner,
            _ => return fail(format!("unknown key `{key}`: there is no table `{part}`{}", nearest(part, &known))),
        }
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

/// Adds the near miss to serde's list of what it expected.
fn explain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let Some(rest) = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))
    else {
        return message.to_owned();
    };
    let Some((word, rest)) = rest.split_once('`') else { return message.to_owned() };
    let known: Vec<String> = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    format!("unknown key or value `{word}`{}", nearest(word, &known))
}

fn nearest(word: &str, known: &[String]) -> String {
    match suggest(word, known.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Recipe, RecipeError> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Recipe::resolve(None, None, &pairs)
    }

    #[test]
    fn layers_of_a_recipe_lie_over_each_other() {
        let recipe = Recipe::resolve(
            Some("digits"),
            Some("[train]\nepochs = 3\n[model]\nlayer_kernels = { \"layer4.*\" = 2 }"),
            &[("train.batch".into(), "7".into()), ("model.name".into(), "resnet18".into())],
        )
        .unwrap();
        assert_eq!((recipe.train.epochs, recipe.train.batch, recipe.augment.shift), (3, 7, 1));
        assert_eq!((recipe.model.name.as_str(), recipe.model.layer_kernels["layer4.*"]), ("resnet18", 2));
        assert_eq!(recipe.train.momentum, 0.9);
    }

    #[test]
    fn every_built_in_recipe_resolves_and_comes_back_from_its_own_text() {
        for name in [None].into_iter().chain(BUILT_IN.iter().map(|(n, _)| Some(*n))) {
            let recipe = Recipe::resolve(name, None, &[]).unwrap();
            assert_eq!(Recipe::resolve(None, Some(&recipe.to_toml()), &[]).unwrap(), recipe);
        }
    }

    #[test]
    fn unknown_keys_suggest_the_nearest() {
        let says = |result: Result<Recipe, RecipeError>, expected: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains('\n'), "{message}");
        };
        says(settings(&[("train.epoch", "3")]), "unknown key or value `epoch`; did you mean `epochs`?");
        says(settings(&[("trian.epochs", "3")]), "there is no table `trian`; did you mean `train`?");
        says(settings(&[("model.gate", "\"softmx\"")]), "did you mean `softmax`?");
        says(settings(&[("train.lr", "fast")]), "expected f64");
        says(settings(&[("train.batch", "0")]), "`train.batch` must lie in 1..=65536, got 0");
        says(settings(&[("augment.crop_scale", "[0.5, 0.2]")]), "0 < low <= high");
        says(Recipe::resolve(None, Some("[train]\nepochs = = 3"), &[]), "line 2:");
        says(Recipe::resolve(Some("digit"), None, &[]), "did you mean `digits`?");
    }
}
