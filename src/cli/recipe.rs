//! `--recipe`, `--set` and the recipe that the data `digits` bring along.

use std::fs;
use std::path::Path;

use anyhow::Context;
use dyconv::train::{Recipe, RecipeError};

/// The data set inside the program, and the recipe for it.
pub const DIGITS: &str = "digits";

/// Splits what `--set` takes.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, e.g. train.lr=0.1")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Resolves what `--recipe` names by `resolve`, which is given a built-in recipe and the text of a file.
///
/// Below a file, and where there is no name, lies the built-in recipe `below`.
pub fn resolve(
    name: Option<&str>,
    below: Option<&'static str>,
    resolve: impl Fn(Option<&str>, Option<&str>) -> Result<Recipe, RecipeError>,
) -> anyhow::Result<Recipe> {
    match name {
        Some(file) if Path::new(file).is_file() || file.contains(['/', '.']) => {
            let text = fs::read_to_string(file).with_context(|| format!("{file}: cannot be read"))?;
            resolve(below, Some(&text)).with_context(|| file.to_owned())
        }
        Some(name) => Ok(resolve(Some(name), None)?),
        None => Ok(resolve(below, None)?),
    }
}
