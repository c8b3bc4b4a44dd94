//! Grids of recipes: every combination of values of some settings, on top of one recipe.

use dyconv_graph::words::suggest;
use dyconv_models::Options;
use toml::Value;

use crate::recipe::fail;
use crate::recipe::{Recipe, RecipeError};
use crate::setup::static_twin;

/// Short names for the settings that are varied most:
/// - `kernels`: K of the dynamic layers; 1 is the static twin;
/// - `tau`: a constant temperature, or `anneal`, the recipe's linear schedule;
/// - `dynamic`: which convolutions are dynamic: `all`, `none`, or some of [`PARTS`] joined by `+`;
/// - the rest: the keys of the same name in the recipe's `model` table.
const AXES: [&str; 7] = ["kernels", "tau", "dynamic", "gate", "se", "width", "router_init"];
/// Short names that also apply to static networks.
const ALSO_STATIC: [&str; 2] = ["se", "width"];
/// Convolutions of a block that `dynamic` can list.
const PARTS: [&str; 3] = ["expand", "depthwise", "project"];

/// A setting and the values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// `kernels`, `tau`, `dynamic`, `gate`, `se`, `width`, `router_init`, or a dotted key of the recipe.
    pub key: String,
    /// At least one value.
    pub values: Vec<String>,
}

/// One combination of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Unique among the cells, and usable as a folder name: `kernels=4,tau=anneal`.
    pub name: String,
    /// Value by axis; `None` if the axis does not apply to this cell's network.
    pub values: Vec<Option<String>>,
    /// Its recipe, with the seed of the base recipe.
    pub recipe: Recipe,
}

impl Axis {
    /// Parses `key=value,value,…`; commas within brackets or quotes do not separate values.
    ///
    /// # Errors
    /// A message, if the key or the value is missing, or a value occurs twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected KEY=VALUE,VALUE,…, e.g. kernels=1,2,4,8".to_owned();
        let (key, values) = text.split_once('=').ok_or_else(expected)?;
        let (key, values) = (key.trim().to_owned(), split(values));
        if key.is_empty() || values.iter().any(String::is_empty) {
            return Err(expected());
        }
        match values.iter().enumerate().find(|(i, v)| values[..*i].contains(v)) {
            Some((_, twice)) => Err(format!("`{key}` has the value {twice} twice")),
            None => Ok(Self { key, values }),
        }
    }
}

/// Splits a list at its commas, except within brackets or quotes.
fn split(list: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote) = (vec![String::new()], 0usize, None);
    for c in list.chars() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(c),
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(c);
    }
    parts.into_iter().map(|p| p.trim().to_owned()).collect()
}

/// Every combination of the axes' values over `base`, the last axis varying fastest. Combinations that differ only in
/// values that do not apply to their network, such as the temperature of static ones, are one cell.
///
/// # Errors
/// If an axis is given twice or does not exist (the nearest name is suggested), or the recipe rejects a value.
pub fn cells(base: &Recipe, axes: &[Axis]) -> Result<Vec<Cell>, RecipeError> {
    for (i, axis) in axes.iter().enumerate() {
        check(axis, &axes[..i], base)?;
    }
    let count = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.values.len()));
    /// A limit far beyond what anyone trains.
    const MOST: usize = 10_000;
    let count = count.filter(|n| *n <= MOST);
    let Some(count) = count else { return fail(format!("the grid has more than {MOST} combinations")) };
    let mut cells: Vec<Cell> = Vec::new();
    for mut index in 0..count {
        let mut chosen = vec![""; axes.len()];
        for (axis, chosen) in axes.iter().zip(&mut chosen).rev() {
            *chosen = &axis.values[index % axis.values.len()];
            index /= axis.values.len();
        }
        let cell = cell(base, axes, &chosen)?;
        if !cells.iter().any(|other| other.recipe == cell.recipe) {
            cells.push(cell);
        }
    }
    for i in 0..cells.len() {
        if cells[..i].iter().any(|other| other.name == cells[i].name) {
            let name = format!("{}-{}", cells[i].name, i + 1);
            cells[i].name = name;
        }
    }
    Ok(cells)
}

/// Checks that the axis is new and can exist; a dotted key is looked up when it is set.
fn check(axis: &Axis, before: &[Axis], base: &Recipe) -> Result<(), RecipeError> {
    let key = axis.key.as_str();
    if before.iter().any(|other| other.key == key) {
        return fail(format!("the grid has `{key}` twice; give all its values in one"));
    }
    if key == "seed" {
        return Err(RecipeError::seed_axis());
    }
    if key.contains('.') || AXES.contains(&key) {
        return Ok(());
    }
    let mut known = Vec::new();
    flatten("", &Value::try_from(base).expect("a recipe is made of tables and plain values"), &mut known);
    // `lr` means `train.lr` rather than a similarly spelled short name.
    let ending = known.iter().find(|k| k.rsplit('.').next() == Some(key)).map(String::as_str);
    let names = AXES.into_iter().chain(known.iter().map(String::as_str));
    let near = ending.or_else(|| suggest(key, names)).unwrap_or_default();
    fail(format!("no axis of a grid is called `{key}`; did you mean `{near}`?"))
}

/// Collects the dotted keys of everything in a table.
fn flatten(key: &str, value: &Value, keys: &mut Vec<String>) {
    match value {
        Value::Table(table) => table.iter().for_each(|(name, value)| {
            flatten(&if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, keys);
        }),
        _ => keys.push(key.to_owned()),
    }
}

fn cell(base: &Recipe, axes: &[Axis], chosen: &[&str]) -> Result<Cell, RecipeError> {
    let pairs = || axes.iter().map(|axis| axis.key.as_str()).zip(chosen.iter().copied());
    let mut settings = Vec::new();
    for (key, value) in pairs() {
        settle(key, value, &mut settings)?;
    }
    let mut recipe = base.with(&settings)?;
    // These two decide whether the network is static; if neither is an axis, its name decides.
    let says_static = |key: &str, value: &str| matches!((key, value), ("kernels", "1") | ("dynamic", "none"));
    let decided = pairs().any(|(key, _)| ["kernels", "dynamic"].contains(&key));
    let named_static = dyconv_models::static_twin(&recipe.model.name).is_none();
    let is_static = pairs().any(|(key, value)| says_static(key, value)) || (named_static && !decided);
    if is_static {
        recipe.model.options = recipe.model.options.with_dynamic_of(&base.model.options);
        recipe.model.router_init = base.model.router_init;
        recipe = static_twin(&recipe).unwrap_or(recipe);
        recipe.temperature = base.temperature.clone();
    } else if named_static {
        recipe.model.name = dyconv_models::dynamic_form(&recipe.model.name);
    }
    let counts = |key: &str, value: &str| !is_static || says_static(key, value) || !of_routers(key);
    let values: Vec<_> = pairs().map(|(key, value)| counts(key, value).then(|| value.to_owned())).collect();
    let parts = axes.iter().zip(&values).filter_map(|(axis, value)| Some(format!("{}={}", axis.key, value.as_ref()?)));
    let name = parts.map(|p| p.chars().map(plain).collect::<String>()).collect::<Vec<_>>().join(",");
    Ok(Cell { name: if name.is_empty() { "recipe".into() } else { name }, values, recipe })
}

/// Replaces characters that some system does not allow in a folder name.
fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || "._=+-".contains(c) { c } else { '_' }
}

/// Whether an axis does not apply to static networks.
fn of_routers(key: &str) -> bool {
    match AXES.contains(&key) {
        true => !ALSO_STATIC.contains(&key),
        false => match key.split_once('.') {
            Some(("temperature", _)) => true,
            Some(("model", option)) => {
                let option = option.split('.').next().unwrap_or_default();
                option == "router_init" || Options::OF_DYNAMIC.contains(&option)
            }
            _ => false,
        },
    }
}

/// Adds the settings that a value of an axis stands for.
fn settle(key: &str, value: &str, settings: &mut Vec<(String, String)>) -> Result<(), RecipeError> {
    let wrong = |expected: &str| fail(format!("`{key}` of a grid takes {expected}, got `{value}`"));
    let mut put = |key: &str, value: &str| settings.push((key.to_owned(), value.to_owned()));
    match key {
        "kernels" => match value.parse::<usize>() {
            Ok(1) => {}
            Ok(2..) => put("model.kernels", value),
            _ => return wrong("whole numbers from 1"),
        },
        "tau" if value == "anneal" => put("temperature.schedule", "linear"),
        "tau" => match value.parse::<f32>() {
            Ok(tau) if tau > 0.0 => {
                put("temperature.schedule", "constant");
                put("temperature.end", &format!("{tau:?}"));
            }
            _ => return wrong("temperatures and `anneal`"),
        },
        "dynamic" if value == "none" => {}
        "dynamic" => {
            let chosen: Vec<&str> = if value == "all" { PARTS.to_vec() } else { value.split('+').collect() };
            if let Some(unknown) = chosen.iter().find(|c| !PARTS.contains(c)) {
                let near = suggest(unknown, PARTS.into_iter().chain(["all", "none"])).unwrap_or_default();
                let expected = format!("all, none, or some of {} joined by `+`", PARTS.join(", "));
                return wrong(&format!("{expected} (did you mean `{near}`?)"));
            }
            let part = |name: &&str| format!("{name} = {}", chosen.contains(name));
            put("model.dynamic_parts", &format!("{{ {} }}", PARTS.iter().map(part).collect::<Vec<_>>().join(", ")));
        }
        "width" => match value.parse::<f64>() {
            Ok(width) => put("model.width", &format!("{width:?}")),
            Err(_) => return wrong("numbers"),
        },
        "gate" | "se" | "router_init" => put(&format!("model.{key}"), value),
        _ => put(key, value),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::TemperatureSchedule;

    fn base() -> Recipe {
        Recipe::resolve(Some("imagenet-mobilenet-v2"), None, &[]).unwrap()
    }

    fn grid(axes: &[&str]) -> Result<Vec<Cell>, RecipeError> {
        cells(&base(), &axes.iter().map(|a| Axis::parse(a).unwrap()).collect::<Vec<_>>())
    }

    fn names(axes: &[&str]) -> Vec<String> {
        grid(axes).unwrap().into_iter().map(|c| c.name).collect()
    }

    #[test]
    fn a_grid_is_every_combination_and_static_ones_stand_once() {
        assert_eq!(
            names(&["kernels=1,2", "tau=10,anneal", "width=0.5,1"]),
            [
                "kernels=1,width=0.5",
                "kernels=1,width=1",
                "kernels=2,tau=10,width=0.5",
                "kernels=2,tau=10,width=1",
                "kernels=2,tau=anneal,width=0.5",
                "kernels=2,tau=anneal,width=1"
            ]
        );
        assert_eq!(names(&["dynamic=none,all", "kernels=1,4", "gate=softmax,sigmoid"]).len(), 3);
        assert_eq!(names(&[]), ["recipe"]);
        let cells = grid(&["tau=1,30", "kernels=1,4"]).unwrap();
        assert_eq!(cells[0].values, [None, Some("1".into())]);
        assert_eq!(cells[1].values, [Some("1".into()), Some("4".into())]);
    }

    #[test]
    fn values_become_settings_of_the_recipe() {
        let only = |axis: &str| grid(&[axis]).unwrap().remove(0).recipe;
        assert_eq!(only("kernels=1"), static_twin(&base()).unwrap());
        assert_eq!(only("dynamic=none"), static_twin(&base()).unwrap());
        assert_eq!(only("kernels=8").model.options.kernels, 8);
        let t = only("tau=10").temperature;
        assert_eq!((t.schedule, t.end), (TemperatureSchedule::Constant, 10.0));
        assert_eq!(only("tau=anneal"), base());
        let parts = only("dynamic=project+expand").model.options.dynamic_parts;
        assert_eq!((parts.expand, parts.depthwise, parts.project), (true, false, true));
        assert_eq!(only("dynamic=all"), base());
        assert_eq!(only("gate=sigmoid"), base().with(&[("model.gate".into(), "sigmoid".into())]).unwrap());
        assert_eq!(only("width=1").model.options.width, Some(1.0));
        assert!(!only("se=false").model.options.se);
        assert_eq!(only("train.lr=0.3").train.lr, 0.3);
        assert_eq!(only("model.name=mobilenet_v2_x0_5").model.name, "mobilenet_v2_x0_5");
        let betas = grid(&["train.betas=[0.9, 0.99],[0.8,0.9]"]).unwrap();
        assert_eq!((betas[0].recipe.train.betas, betas[1].recipe.train.betas), ([0.9, 0.99], [0.8, 0.9]));
        assert_eq!(betas[0].name, "train.betas=_0.9__0.99_");
    }

    #[test]
    fn a_keypoint_recipe_has_both_forms() {
        let base = Recipe::resolve(Some("figures"), None, &[]).unwrap();
        let cells = cells(&base, &[Axis::parse("kernels=1,4").unwrap()]).unwrap();
        let names: Vec<&str> = cells.iter().map(|c| c.recipe.model.name.as_str()).collect();
        assert_eq!(names, ["pose_resnet10_x0_25_a", "pose_dy_resnet10_x0_25_a"]);
        assert_eq!(cells[1].recipe, base);
    }

    #[test]
    fn a_static_recipe_becomes_dynamic_by_its_kernels() {
        let twin = static_twin(&base()).unwrap();
        let axes = [Axis::parse("kernels=1,4").unwrap()];
        let cells = cells(&twin, &axes).unwrap();
        assert_eq!((&cells[0].recipe, &cells[1].recipe), (&twin, &base()));
    }

    #[test]
    fn bad_axes_and_values_name_what_is_meant() {
        let says = |axes: &[&str], expected: &str| {
            let message = grid(axes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        says(&["kernals=1"], "no axis of a grid is called `kernals`; did you mean `kernels`?");
        says(&["lr=0.1"], "did you mean `train.lr`?");
        says(&["train.lrr=0.1"], "unknown key `train.lrr`; did you mean `train.lr`?");
        says(&["seed=1"], "`seed` is no axis of a grid");
        says(&["kernels=1", "kernels=2"], "has `kernels` twice");
        says(&["kernels=0"], "whole numbers from 1, got `0`");
        says(&["tau=warm"], "temperatures and `anneal`, got `warm`");
        says(&["dynamic=expand+proejct"], "did you mean `project`?");
        says(&["gate=softmx"], "did you mean `softmax`?");
        says(&["width=wide"], "takes numbers");
        says(&["tau=1e9"], "`temperature.end` must lie in");
        for text in ["kernels", "kernels=", "=1", "kernels=1,,2"] {
            assert!(Axis::parse(text).unwrap_err().contains("KEY=VALUE,VALUE"), "{text}");
        }
        assert!(Axis::parse("kernels=2,4,2").unwrap_err().contains("the value 2 twice"));
    }

    #[test]
    fn names_that_fall_together_are_told_apart() {
        let names = names(&["train.freeze=[],[\"stem*\"],[\"stem?\"]"]);
        assert_eq!(names, ["train.freeze=__", "train.freeze=__stem___", "train.freeze=__stem___-3"]);
    }
}
