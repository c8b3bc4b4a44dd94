//! `--recipe`, `--set`, and the recipe that comes with the data set `digits`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use dyconv_train::{Recipe, RecipeError, toml_value};

/// Name of the built-in data set, and of its recipe.
pub const DIGITS: &str = "digits";

/// The largest seed: the maximum of TOML integers.
pub const MOST_SEED: u64 = i64::MAX as u64;

/// Parses the argument of `--set`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, e.g. train.lr=0.1")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// A flag that sets a key of the recipe, and its value.
pub struct Flag {
    /// As typed: `--epochs`.
    pub name: &'static str,
    pub key: &'static str,
    /// The value in TOML syntax.
    pub value: Option<String>,
}

/// The settings of the flags and of `--set`, which must not contradict each other; if `--set` is repeated for a key,
/// the last one counts.
pub fn settings(flags: &[Flag], set: &[(String, String)]) -> anyhow::Result<Vec<(String, String)>> {
    let of_flags =
        flags.iter().filter_map(|f| Some((format!("{} {}", f.name, f.value.as_ref()?), f.key, f.value.as_ref()?)));
    let of_set = set.iter().map(|(key, value)| (format!("--set {key}={value}"), key.as_str(), value));
    let mut all: Vec<(String, &str, &String)> = Vec::new();
    all.extend(of_flags);
    let given = all.len();
    for (words, key, value) in of_set {
        let contradicts = |(_, k, v): &&(String, &str, &String)| *k == key && !are_equal(v, value);
        if let Some((other, ..)) = all[..given].iter().find(contradicts) {
            bail!("{other} and {words} contradict each other: both set `{key}`; leave one out");
        }
        all.push((words, key, value));
    }
    Ok(all.into_iter().map(|(_, key, value)| (key.to_owned(), value.clone())).collect())
}

/// Whether two values in TOML syntax are equivalent: `1` and `1.0` are, and so are one side and two equal sides.
fn are_equal(a: &str, b: &str) -> bool {
    let [a, b] = [a, b].map(|text| {
        let value = toml_value(text);
        match value.as_array().map(Vec::as_slice) {
            Some([height, width]) if height == width => height.clone(),
            _ => value,
        }
    });
    let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    a == b || number(&a).is_some_and(|a| number(&b) == Some(a))
}

/// Resolves the argument of `--recipe` with `resolve`, which receives a built-in recipe and the text of a file.
///
/// A file, or a missing argument, is based on the built-in recipe `below`.
pub fn resolve(
    name: Option<&str>,
    below: Option<&'static str>,
    resolve: impl Fn(Option<&str>, Option<&str>) -> Result<Recipe, RecipeError>,
) -> anyhow::Result<Recipe> {
    match name {
        Some(file) if Path::new(file).is_file() || file.contains(['/', '.']) => {
            let text = fs::read_to_string(file).with_context(|| format!("{file}: cannot be read"))?;
            resolve(below, Some(&text)).map_err(|error| match error.is_in_file() {
                true => anyhow::Error::new(error).context(file.to_owned()),
                false => error.into(),
            })
        }
        Some(name) => Ok(resolve(Some(name), None)?),
        None => Ok(resolve(below, None)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_to_one_value() {
        let flag = |value: &str| [Flag { name: "--epochs", key: "train.epochs", value: Some(value.into()) }];
        let set = |pairs: &[(&str, &str)]| -> Vec<_> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let error = settings(&flag("2"), &set(&[("train.epochs", "3")])).unwrap_err().to_string();
        assert!(error.contains("--epochs 2 and --set train.epochs=3 contradict each other"), "{error}");
        let twice = settings(&flag("2"), &set(&[("train.epochs", "2"), ("train.lr", "1"), ("train.lr", "2")])).unwrap();
        assert_eq!(twice.last(), Some(&("train.lr".to_owned(), "2".to_owned())));
        assert!(are_equal("1", "1.0") && are_equal("[8, 8]", "8") && are_equal("\"x\"", "x"));
        assert!(!are_equal("[8, 9]", "8") && !are_equal("x", "y"));
    }
}
