//! Builds recipes from their layers: defaults, a model to start from, a built-in recipe, a file, single settings.

use dyconv_file::Model;
use dyconv_graph::words::suggest;
use dyconv_models::static_twin;
use dyconv_task::CropMode;
use toml::{Table, Value};

use super::Recipe;
use super::built_in::{BUILT_IN, BuiltIn, DEFAULT};
use super::errors::{RecipeError, fail_at, nearest};
use super::model::SMALL_SIDE;

impl Recipe {
    /// The defaults, overridden by a built-in recipe if one is named, by the text of a recipe file, and by `key=value`
    /// settings, in this order.
    ///
    /// # Errors
    /// If a recipe or key is unknown (the nearest one is suggested), or a value is out of bounds.
    pub fn resolve(
        built_in: Option<&str>,
        file: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Self, RecipeError> {
        layered(Table::new(), built_in, file, settings)
    }

    /// Like [`Recipe::resolve`], for training that starts from a model: directly above the defaults come the network
    /// and the preprocessing of the model's recipe.
    ///
    /// # Errors
    /// As [`Recipe::resolve`], and if the model's own recipe cannot be read.
    pub fn resolve_from(
        model: &Model,
        built_in: Option<&str>,
        file: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Self, RecipeError> {
        layered(base(model)?, built_in, file, settings)
    }

    /// The complete recipe of a run, as [`Recipe::to_toml`] wrote it. Keys that did not exist then get the values that
    /// were in effect.
    ///
    /// # Errors
    /// As [`Recipe::resolve`].
    pub fn begun(text: &str) -> Result<Self, RecipeError> {
        layered(parse(BEFORE)?, None, Some(text), &[])
    }

    /// Like [`Recipe::resolve_from`] for fine-tuning: no recipe is named and the model was trained. The training
    /// settings are those of the built-in recipe `finetune`. For keypoint networks the optimizer and the heat maps' σ
    /// are the model's own, and the learning rate is a tenth of its rate. Augmentation and temperature are taken from
    /// the model too, but a dynamic network that starts from a static one has new routers, so its temperature starts
    /// high.
    ///
    /// # Errors
    /// As [`Recipe::resolve_from`].
    pub fn resolve_fine_tuning(
        model: &Model,
        joints: bool,
        settings: &[(String, String)],
    ) -> Result<(Self, Option<FineTuning>), RecipeError> {
        let plain = Self::resolve_from(model, None, None, settings)?;
        if !model.provenance.is_trained() || joints != model.skeleton().is_some() {
            return Ok((plain, None));
        }
        let has_routers = model.graph.dynamic_layers() > 0;
        let own = own(model)?;
        let name = own.get("model").and_then(|m| m.get("name")).and_then(Value::as_str);
        let same = name.unwrap_or(&model.provenance.model) == plain.model.name;
        let dynamic = static_twin(&plain.model.name).is_some() || (same && has_routers);
        let new_routers = dynamic && !has_routers;
        let below = fine_tuning(model, joints, new_routers)?;
        let recipe = layered(below, None, None, settings)?;
        Ok((recipe, Some(FineTuning { dynamic, new_routers })))
    }

    /// This recipe, overridden by `key=value` settings.
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

/// The values that were in effect before these keys existed.
const BEFORE: &str = "data = { orientation = \"ignore\", max_megapixels = 64 }";

/// What fine-tuning starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FineTuning {
    /// Whether the network has routers.
    pub dynamic: bool,
    /// Whether the routers are new, because the model has none.
    pub new_routers: bool,
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
        overlay(&mut table, parse(named(name)?.text)?);
    }
    if let Some(text) = file {
        overlay(&mut table, parse(text)?);
    }
    for (key, value) in settings {
        set(&mut table, key, value)?;
    }
    let checked = serde_path_to_error::deserialize(Value::Table(table))
        .map_err(|e| RecipeError::of_value(&e.path().to_string(), e.inner().message()))
        .and_then(|recipe: Recipe| recipe.check().map(|()| recipe));
    checked.map_err(|error| {
        // The last setting of a key applies.
        let set = |key: &str| {
            settings.iter().any(|(k, _)| key == k || key.strip_prefix(k).is_some_and(|r| r.starts_with(['.', '['])))
        };
        match file {
            Some(text) if !error.key.as_deref().is_some_and(set) => error.in_text(text),
            _ => error,
        }
    })
}

fn named(name: &str) -> Result<&'static BuiltIn, RecipeError> {
    BUILT_IN.iter().find(|r| r.name == name).map_or_else(
        || {
            let nearest = suggest(name, BUILT_IN.iter().map(|r| r.name)).unwrap_or_default();
            Err(RecipeError::unknown_recipe(name, nearest))
        },
        Ok,
    )
}

/// The layer below the settings in fine-tuning.
fn fine_tuning(model: &Model, joints: bool, new_routers: bool) -> Result<Table, RecipeError> {
    let own = own(model)?;
    let get = |table: &str, key: &str| own.get(table).and_then(|t| t.get(key)).cloned();
    let mut below = base(model)?;
    let keep = |key: &str| own.get(key).map(|value| (key.to_owned(), value.clone()));
    overlay(&mut below, keep("augment").into_iter().collect());
    overlay(&mut below, parse(named("finetune")?.text)?);
    let mut change = Table::new();
    let mut put = |table: &str, key: &str, value: Option<Value>| {
        let inner = change.entry(table).or_insert_with(|| Value::Table(Table::new()));
        if let (Some(inner), Some(value)) = (inner.as_table_mut(), value) {
            inner.insert(key.to_owned(), value);
        }
    };
    let end = number(get("temperature", "end")).unwrap_or(1.0);
    // The shortest decimal, as it was written in the recipe.
    let tau: f64 = model.tau.to_string().parse().unwrap_or(f64::from(model.tau));
    if new_routers || tau > end {
        put("temperature", "schedule", Some(Value::String("linear".into())));
        put("temperature", "end", Some(Value::Float(end)));
    } else {
        put("temperature", "end", Some(Value::Float(tau)));
    }
    if !new_routers {
        // If the temperature has not yet reached the end, it keeps falling.
        put("temperature", "start", Some(Value::Float(tau.max(end))));
    }
    if joints {
        // The loss of heat maps has another scale, and a learning rate belongs to its update rule.
        for key in ["optimizer", "momentum", "nesterov", "betas", "alpha", "eps", "weight_decay"] {
            put("train", key, get("train", key));
        }
        put("train", "lr", number(get("train", "lr")).map(|lr| Value::Float(lr / 10.0)));
        put("train", "label_smoothing", Some(Value::Float(0.0)));
        put("data", "heatmap_sigma", get("data", "heatmap_sigma"));
    }
    overlay(&mut below, change);
    Ok(below)
}

fn number(value: Option<Value>) -> Option<f64> {
    value.and_then(|value| value.as_float().or(value.as_integer().map(|n| n as f64)))
}

/// The recipe stored in a model file.
fn own(model: &Model) -> Result<Table, RecipeError> {
    parse(&model.provenance.recipe).map_err(|e| e.within("in the model file"))
}

/// The settings that a recipe takes from the model it starts from.
fn base(model: &Model) -> Result<Table, RecipeError> {
    let own = own(model)?;
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
    // If all images have one size, the shorter side is kept whole, otherwise the longer. The longer one is resized to
    // `resize`, too, where both are.
    let both = p.crop != CropMode::Center;
    let kept = if both || h.max(w) <= p.resize { h.max(w) } else { h.min(w) };
    let numbers = |values: &[f32]| Value::Array(values.iter().map(|v| Value::Float(f64::from(*v))).collect());
    let mut data = Table::from_iter([
        ("channels".to_owned(), Value::Integer(p.channels as i64)),
        ("crop_pct".to_owned(), Value::Float((kept as f64 / p.resize as f64).min(1.0))),
        ("mean".to_owned(), numbers(&p.mean)),
        ("std".to_owned(), numbers(&p.std)),
        ("orientation".to_owned(), Value::try_from(p.orientation).expect("a word")),
        ("interpolation".to_owned(), Value::try_from(p.interpolation).expect("a word")),
        ("crop".to_owned(), Value::try_from(p.crop).expect("a word")),
    ]);
    // The same images are held out, if the data are the same.
    let fraction = own.get("data").and_then(|d| d.get("val_fraction"));
    data.extend(fraction.map(|fraction| ("val_fraction".to_owned(), fraction.clone())));
    let seed = own.get("seed").map(|seed| ("seed".to_owned(), seed.clone()));
    let tables = [("model".to_owned(), Value::Table(network)), ("data".to_owned(), Value::Table(data))];
    Ok(tables.into_iter().chain(seed).collect())
}

fn parse(text: &str) -> Result<Table, RecipeError> {
    text.parse::<Table>().map_err(|e| RecipeError::of_text(text, &e))
}

/// Tables whose keys are chosen by the user; they are replaced as a whole.
const WHOLE: [&str; 2] = ["layer_kernels", "class_weights"];

/// Overrides the values of `base` with those of `change`, table by table.
fn overlay(base: &mut Table, change: Table) {
    for (key, value) in change {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(change)) if !WHOLE.contains(&key.as_str()) => overlay(base, change),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// Sets `train.lr` or another dotted key to a value in TOML notation; a bare word is a string.
fn set(table: &mut Table, key: &str, value: &str) -> Result<(), RecipeError> {
    let value = match toml_value(value) {
        Value::String(word) if is_huge(&word) => {
            return fail_at(key, format!("`{key}` is {word}, beyond TOML's whole numbers, which end at {}", i64::MAX));
        }
        value => value,
    };
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut table = table;
    for part in parts {
        let known: Vec<String> = table.iter().filter(|(_, v)| v.is_table()).map(|(k, _)| k.clone()).collect();
        match table.get_mut(part) {
            Some(Value::Table(inner)) => table = inner,
            _ => {
                return fail_at(
                    key,
                    format!("unknown key `{key}`: there is no table `{part}`{}", nearest(part, &known)),
                );
            }
        }
    }
    overlay(table, Table::from_iter([(last.to_owned(), value)]));
    Ok(())
}

/// Parses a value in TOML notation; a bare word is a string.
pub fn toml_value(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok().filter(|t| t.len() == 1).and_then(|mut t| t.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Whether a word is an integer outside TOML's range.
fn is_huge(word: &str) -> bool {
    let digits = word.trim_start_matches(['-', '+']);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && word.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{BUILT_IN, ImageSize};
    use crate::splitmix::splitmix64;
    use dyconv_task::Orientation;

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
        assert_eq!((recipe.model.name.as_str(), recipe.model.options.layer_kernels["layer4.*"]), ("resnet18", 2));
        assert_eq!(recipe.train.momentum, 0.9);
    }

    /// A recipe is anybody's text. The fuzz targets leave it out, as they would have to build Burn.
    #[test]
    fn damaged_recipes_are_errors_and_no_panics() {
        const SYMBOLS: &[u8] = b"0129-.eE\"'[]{}=#\n, ";
        let mut state = 0;
        let mut next = |below: usize| {
            state += 1;
            (splitmix64(state) % below as u64) as usize
        };
        let (mut read, mut refused) = (0, 0);
        for built_in in BUILT_IN {
            for _ in 0..150 {
                let mut text = built_in.text.as_bytes().to_vec();
                for _ in 0..1 + next(4) {
                    let (at, other) = (next(text.len()), next(text.len()));
                    match next(5) {
                        0 => text[at] = SYMBOLS[next(SYMBOLS.len())],
                        1 => text.truncate(at.max(8)),
                        2 => text.insert(at, SYMBOLS[next(SYMBOLS.len())]),
                        3 => drop(text.remove(at)),
                        _ => {
                            let (end, to) = (text.len().min(at + 30), other.min(text.len().saturating_sub(30)));
                            text.copy_within(at..end, to);
                        }
                    }
                }
                match Recipe::resolve(None, Some(&String::from_utf8_lossy(&text)), &[]) {
                    Ok(_) => read += 1,
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        refused += 1;
                    }
                }
            }
        }
        assert!(read > 100 && refused > 100, "{read} were read, {refused} refused");
    }

    #[test]
    fn what_the_data_have_no_use_for_is_named() {
        let says = |joints: bool, pairs: &[(&str, &str)], expected: &str| {
            let message = settings(pairs).unwrap().check_use(joints).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        settings(&[]).unwrap().check_use(true).unwrap();
        settings(&[]).unwrap().check_use(false).unwrap();
        says(true, &[("data.interpolation", "\"bicubic\"")], "`data.interpolation` is for images with classes");
        says(true, &[("data.crop", "\"squash\"")], "`data.crop` is for images with classes");
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
    fn a_run_begun_before_a_key_was_known_resumes_as_it_was() {
        let now = Recipe::resolve(None, None, &[]).unwrap();
        assert_eq!((now.data.orientation, now.data.max_pixels()), (Orientation::Exif, 100_000_000));
        assert_eq!(Recipe::begun(&now.to_toml()).unwrap(), now);
        let text = now.to_toml();
        let later = ["orientation", "max_megapixels", "interpolation", "crop ="];
        let new = |line: &&str| !later.iter().any(|key| line.starts_with(key));
        let old: Vec<&str> = text.lines().filter(new).collect();
        let old = Recipe::begun(&old.join("\n")).unwrap();
        assert_eq!((old.data.orientation, old.data.max_pixels()), (Orientation::Ignore, 64_000_000));
        assert_eq!((old.data.interpolation, old.data.crop), Default::default());
    }

    #[test]
    fn unknown_keys_suggest_the_nearest() {
        let says = |result: Result<Recipe, RecipeError>, expected: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains('\n'), "{message}");
        };
        says(settings(&[("train.epoch", "3")]), "unknown key `train.epoch`; did you mean `train.epochs`?");
        says(settings(&[("trian.epochs", "3")]), "there is no table `trian`; did you mean `train`?");
        says(settings(&[("model.gate", "\"softmx\"")]), "did you mean `softmax`?");
        says(settings(&[("train.lr", "fast")]), "expected a number, got the text \"fast\"");
        says(settings(&[("train.batch", "0")]), "`train.batch` must lie in 1..=65536, got 0");
        says(settings(&[("augment.crop_scale", "[0.5, 0.2]")]), "0 < low <= high");
        says(Recipe::resolve(None, Some("[train]\nepochs = = 3"), &[]), "line 2:");
        says(Recipe::resolve(Some("digit"), None, &[]), "did you mean `digits`?");
        says(settings(&[("train.optimizer", "adamm")]), "did you mean `adam`?");
        says(settings(&[("train.betas", "[0.9, 1.0]")]), "`train.betas`");
        says(settings(&[("augment.mixup", "-1")]), "augment.mixup: -1");
        says(settings(&[("train.accumulate", "33")]), "`train.accumulate`");
        says(settings(&[("model.image_size", "[1, 2, 3]")]), "expected a side in pixels, or [height, width]");
        says(settings(&[("data.interpolation", "\"cubic\"")]), "`data.interpolation`");
        says(settings(&[("data.interpolation", "\"cubic\"")]), "`nearest`, `bilinear`, `bicubic`, `lanczos`");
        says(settings(&[("data.crop", "\"centre\"")]), "did you mean `center`?");
        says(settings(&[("data.heatmap_sigma", "0")]), "`data.heatmap_sigma` must lie in");
        says(settings(&[("augment.rotate", "200")]), "augment.rotate: 200, expected 0 to 180 degrees");
    }
}
