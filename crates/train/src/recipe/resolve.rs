//! Recipes from their layers: defaults, a model to go on from, a built-in recipe, a file, single settings.

use dyconv_file::Model;
use dyconv_models::suggest;
use toml::{Table, Value};

use super::built_in::{BUILT_IN, DEFAULT};
use super::{Recipe, RecipeError, fail};
use crate::setup::SMALL_SIDE;

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
        layered(Table::new(), built_in, file, settings)
    }

    /// As [`Recipe::resolve`], for training that goes on from a model: right above the defaults lie the network of its
    /// recipe and the way it reads images.
    ///
    /// # Errors
    /// As [`Recipe::resolve`], and where the model's own recipe cannot be read.
    pub fn resolve_from(
        model: &Model,
        built_in: Option<&str>,
        file: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Self, RecipeError> {
        layered(base(model)?, built_in, file, settings)
    }

    /// This recipe, changed by `key=value` settings.
    ///
    /// # Errors
    /// As [`Recipe::resolve`].
    pub fn with(&self, settings: &[(String, String)]) -> Result<Self, RecipeError> {
        Self::resolve(None, Some(&self.to_toml()), settings)
    }

    /// The complete recipe as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is made of tables and plain values")
    }
}

fn layered(
    base: Table,
    built_in: Option<&str>,
    file: Option<&str>,
    settings: &[(String, String)],
) -> Result<Recipe, RecipeError> {
    let mut table = parse(DEFAULT)?;
    overlay(&mut table, base);
    if let Some(name) = built_in {
        let Some(recipe) = BUILT_IN.iter().find(|r| r.name == name) else {
            let nearest = suggest(name, BUILT_IN.iter().map(|r| r.name)).unwrap_or_default();
            return fail(format!(
                "no built-in recipe is called `{name}`; did you mean `{nearest}`? (`dyconv recipes` lists all)"
            ));
        };
        overlay(&mut table, parse(recipe.text)?);
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

/// What a recipe that goes on from a model takes from it.
fn base(model: &Model) -> Result<Table, RecipeError> {
    let own = parse(&model.provenance.recipe).map_err(|e| RecipeError(format!("in the model file, {}", e.0)))?;
    let mut network = match own.get("model") {
        Some(Value::Table(network)) => network.clone(),
        _ => Table::from_iter([("name".to_owned(), Value::String(model.provenance.model.clone()))]),
    };
    let p = &model.preprocessing;
    let [h, w] = p.image_size;
    let side = |s: usize| Value::Integer(s as i64);
    network.insert("image_size".into(), if h == w { side(h) } else { Value::Array(vec![side(h), side(w)]) });
    // The stem must not change with the size of the new images.
    network.entry("small_stem").or_insert(Value::Boolean(h.max(w) <= SMALL_SIDE));
    // Of images that all have one size the shorter side is kept whole, of others the longer.
    let kept = if h.max(w) <= p.resize { h.max(w) } else { h.min(w) };
    let numbers = |values: &[f32]| Value::Array(values.iter().map(|v| Value::Float(f64::from(*v))).collect());
    let data = Table::from_iter([
        ("channels".to_owned(), Value::Integer(p.channels as i64)),
        ("crop_pct".to_owned(), Value::Float((kept as f64 / p.resize as f64).min(1.0))),
        ("mean".to_owned(), numbers(&p.mean)),
        ("std".to_owned(), numbers(&p.std)),
    ]);
    Ok(Table::from_iter([("model".to_owned(), Value::Table(network)), ("data".to_owned(), Value::Table(data))]))
}

fn parse(text: &str) -> Result<Table, RecipeError> {
    text.parse::<Table>().map_err(|e| {
        let line = e.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        RecipeError(format!("line {line}: {}", e.message().lines().next().unwrap_or_default()))
    })
}

/// Tables whose keys are names of the user's; they are replaced as a whole.
const WHOLE: [&str; 2] = ["layer_kernels", "class_weights"];

/// Puts the values of `change` over those of `base`, table by table.
fn overlay(base: &mut Table, change: Table) {
    for (key, value) in change {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(change)) if !WHOLE.contains(&key.as_str()) => overlay(base, change),
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
    use crate::ImageSize;

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
    fn what_the_data_have_no_use_for_is_named() {
        let says = |joints: bool, pairs: &[(&str, &str)], expected: &str| {
            let message = settings(pairs).unwrap().check_use(joints).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        settings(&[]).unwrap().check_use(true).unwrap();
        settings(&[]).unwrap().check_use(false).unwrap();
        says(true, &[("augment.mixup", "0.2")], "`augment.mixup` is for images with classes");
        says(true, &[("augment.crop_scale", "[0.5, 1.0]")], "`augment.crop_scale` is for images with classes");
        says(true, &[("train.class_weights", "{ cat = 2.0 }")], "`train.class_weights` is for images");
        says(false, &[("augment.rotate", "30")], "`augment.rotate` is for persons with joints");
        says(false, &[("data.skeleton", "x.toml")], "`data.skeleton` is for persons with joints");
        let size = settings(&[("model.image_size", "[256, 192]")]).unwrap().model.image_size;
        assert_eq!(size.map(ImageSize::sides), Some([256, 192]));
    }

    #[test]
    fn every_built_in_recipe_resolves_and_comes_back_from_its_own_text() {
        for built_in in BUILT_IN {
            let recipe = Recipe::resolve(Some(built_in.name), None, &[]).unwrap();
            assert!(built_in.description().len() > 20, "{}", built_in.name);
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
        says(settings(&[("train.optimizer", "adamm")]), "did you mean `adam`?");
        says(settings(&[("train.betas", "[0.9, 1.0]")]), "`train.betas`");
        says(settings(&[("augment.mixup", "-1")]), "augment.mixup: -1");
        says(settings(&[("train.accumulate", "33")]), "`train.accumulate`");
        says(settings(&[("model.image_size", "[1, 2, 3]")]), "expected a side in pixels, or [height, width]");
        says(settings(&[("data.heatmap_sigma", "0")]), "`data.heatmap_sigma` must lie in");
        says(settings(&[("augment.rotate", "200")]), "augment.rotate: 200, expected 0 to 180 degrees");
    }
}
