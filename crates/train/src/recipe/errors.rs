//! Errors in a recipe: the key, its line in the file, and the expected value.

use dyconv_graph::words::suggest;
use toml::de::{DeTable, DeValue};

use super::built_in::DEFAULT;

/// An invalid recipe: names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if self.line.is_some() { "" } else { "recipe: " })]
pub struct RecipeError {
    kind: RecipeErrorKind,
    /// The key that the error is about, if there is one.
    pub(super) key: Option<String>,
    message: String,
    /// Line in the text of a recipe file.
    line: Option<usize>,
}

/// The kind of a [`RecipeError`], as far as programs may want to add advice of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecipeErrorKind {
    /// The message is complete.
    #[default]
    Other,
    /// The seed is used as an axis of a grid: seeds repeat every cell.
    SeedAxis,
    /// A built-in recipe that does not exist.
    UnknownRecipe,
}

pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T, RecipeError> {
    Err(RecipeError::new(message))
}

/// Like [`fail`], about one key.
pub(super) fn fail_at<T>(key: &str, message: impl Into<String>) -> Result<T, RecipeError> {
    Err(RecipeError { key: Some(key.to_owned()), ..RecipeError::new(message) })
}

impl RecipeError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { kind: RecipeErrorKind::Other, key: None, message: message.into(), line: None }
    }

    /// The seed cannot be an axis of a grid.
    pub(crate) fn seed_axis() -> Self {
        Self { kind: RecipeErrorKind::SeedAxis, ..Self::new("`seed` is no axis of a grid") }
    }

    /// No built-in recipe has this name; suggests the nearest one.
    pub(super) fn unknown_recipe(name: &str, nearest: &str) -> Self {
        let message = format!("no built-in recipe is called `{name}`; did you mean `{nearest}`?");
        Self { kind: RecipeErrorKind::UnknownRecipe, ..Self::new(message) }
    }

    /// The kind of the error.
    pub fn kind(&self) -> RecipeErrorKind {
        self.kind
    }

    /// A name that does not exist; suggests the nearest one.
    pub(crate) fn unknown(key: &str, what: &str, name: &str, known: &[String]) -> Self {
        Self::new(format!("`{key}`: no {what} is called `{name}`{}", nearest(name, known)))
    }

    /// A text that is not valid TOML.
    pub(super) fn of_text(text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(1, |span| line(text, span.start));
        let words = error.message().lines().next().unwrap_or_default();
        Self { line: Some(line), ..Self::new(format!("line {line}: {words}")) }
    }

    /// A value that serde rejects.
    pub(super) fn of_value(path: &str, message: &str) -> Self {
        let message = message.lines().next().unwrap_or_default();
        let key = path.trim_matches('.');
        let about = |key: &str, message: String| Self { key: Some(key.to_owned()), ..Self::new(message) };
        if let Some((word, expected)) = quoted(message, "unknown field `") {
            let parent = key.strip_suffix(word).map_or(key, |parent| parent.trim_end_matches('.'));
            let full = join(parent, word);
            return about(&full, format!("unknown key `{full}`{}", near_key(parent, word, &names(expected))));
        }
        if let Some((word, expected)) = quoted(message, "unknown variant `") {
            // The path ends with the variant.
            let key = key.strip_suffix(word).and_then(|key| key.strip_suffix('.')).unwrap_or(key);
            return about(key, format!("`{key}` is `{word}`{expected}{}", nearest(word, &names(expected))));
        }
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        if let Some(missing) = missing {
            return about(key, format!("`{}` is missing", join(key, missing)));
        }
        about(key, format!("`{key}`: {}", plain(message)))
    }

    /// Adds the line on which the key is set in a recipe file, if it is set there.
    #[must_use]
    pub(super) fn in_text(mut self, text: &str) -> Self {
        let line = self.key.as_deref().and_then(|key| line_of(text, key));
        if let (None, Some(line)) = (self.line, line) {
            (self.line, self.message) = (Some(line), format!("line {line}: {}", self.message));
        }
        self
    }

    /// Whether the error is in the recipe file, rather than in settings over it.
    pub fn is_in_file(&self) -> bool {
        self.line.is_some()
    }

    #[must_use]
    pub(super) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// `; did you mean …?`
pub(super) fn nearest(word: &str, known: &[String]) -> String {
    match suggest(word, known.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// The key that was probably meant: one with the same name in any table, otherwise the nearest in its own table.
pub(super) fn near_key(parent: &str, word: &str, known: &[String]) -> String {
    let all = documented_keys();
    let same: Vec<String> =
        all.filter(|key| key.rsplit('.').next() == Some(word)).map(|key| format!("`{key}`")).collect();
    if !same.is_empty() {
        return format!("; did you mean {}?", same.join(" or "));
    }
    let siblings = documented_keys().filter(|key| key.rsplit_once('.').map_or("", |(table, _)| table) == parent);
    let known: Vec<String> = known.iter().map(|name| join(parent, name)).chain(siblings).collect();
    nearest(&join(parent, word), &known)
}

/// Every key that is documented in the defaults.
pub(super) fn documented_keys() -> impl Iterator<Item = String> {
    let mut table = String::new();
    DEFAULT.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned();
            return None;
        }
        let (key, _) = line.trim_start_matches("# ").split_once(" = ")?;
        key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then(|| join(&table, key))
    })
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// The word after `start`, up to its closing quote, and what follows.
fn quoted<'a>(message: &'a str, start: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(start)?.split_once('`')
}

/// The names in serde's list of expected ones.
fn names(expected: &str) -> Vec<String> {
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Translates serde's words for values and types into TOML's.
fn plain(message: &str) -> String {
    let rest = ["invalid type: ", "invalid value: "].iter().find_map(|start| message.strip_prefix(start));
    let Some((found, expected)) = rest.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let expected = match expected {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    let unquoted = |kind: &str| found.strip_prefix(kind).map(|value| value.trim_matches('`').to_owned());
    let found = match found {
        "map" => Some("a table".to_owned()),
        "sequence" => Some("a list".to_owned()),
        other => other.strip_prefix("string ").map(|text| format!("the text {text}")),
    }
    .or_else(|| ["integer ", "floating point ", "boolean "].into_iter().find_map(unquoted));
    match found {
        Some(found) => format!("expected {expected}, got {found}"),
        None => message.to_owned(),
    }
}

/// Line number of a byte, one-based.
fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
}

/// The line on which a dotted key, or a value in place of its table, is set.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let parsed = DeTable::parse(text).ok()?;
    let mut table = parsed.get_ref();
    let mut parts = key.split('.').peekable();
    loop {
        let part = parts.next()?;
        let part = part.split('[').next().unwrap_or(part);
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
        match value.get_ref() {
            DeValue::Table(inner) if parts.peek().is_some() => table = inner,
            _ => return Some(line(text, name.span().start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    /// The error for a file with `text` and settings over it.
    fn says(text: &str, settings: &[(&str, &str)]) -> (String, bool) {
        let settings: Vec<_> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let error = Recipe::resolve(None, Some(text), &settings).unwrap_err();
        (error.to_string(), error.is_in_file())
    }

    #[test]
    fn wrong_values_name_key_and_line_of_the_file() {
        let cases = [
            ("[train]\nlr = \"fast\"", "line 2: `train.lr`: expected a number, got the text \"fast\""),
            ("# mine\n\n[train]\nepochs = 1.5", "line 4: `train.epochs`: expected a whole number from 0, got 1.5"),
            ("train.epochs = -3", "line 1: `train.epochs`: expected a whole number from 0, got -3"),
            ("[train]\nbatch = 0", "line 2: `train.batch` must lie in 1..=65536, got 0"),
            ("[augment]\nmixup = -1.0", "line 2: augment.mixup: -1"),
            ("[augment]\n\ncrop_scale = [0.5, 0.2]", "line 3: `augment.crop_scale` needs"),
            ("[augment]\ncolor_jitter = [0.1, 0.1, \"x\", 0]", "line 2: `augment.color_jitter[2]`: expected a number"),
            (
                "[model]\ngate = \"softmx\"",
                "line 2: `model.gate` is `softmx`, expected `softmax` or `sigmoid`; did you",
            ),
            (
                "[train]\noptimizer = \"adamm\"",
                "expected one of `sgd`, `adam`, `adamw`, `rmsprop`; did you mean `adam`?",
            ),
            ("[train]\nepoch = 3", "line 2: unknown key `train.epoch`; did you mean `train.epochs`?"),
            ("[model]\nlr = 3", "line 2: unknown key `model.lr`; did you mean `train.lr`?"),
            ("\nlr = 3", "line 2: unknown key `lr`; did you mean `train.lr`?"),
            ("[data]\nepochs = 3", "did you mean `train.epochs` or `temperature.epochs`?"),
            ("dropout = 0.2", "did you mean `model.dropout`?"),
            ("[training]\nlr = 3", "line 1: unknown key `training`; did you mean `train`?"),
            ("train = 3", "line 1: `train`: expected a table, got 3"),
            ("[model]\nse = 1", "line 2: `model.se`: expected true or false, got 1"),
            (
                "[model]\nimage_size = \"big\"",
                "line 2: `model.image_size`: expected a side in pixels, or [height, width]",
            ),
            ("seed = -1", "line 1: `seed`: expected a whole number from 0, got -1"),
            ("[train]\nepochs = = 3", "line 2: "),
        ];
        for (text, expected) in cases {
            let (said, in_file) = says(text, &[]);
            assert!(said.contains(expected) && in_file && !said.contains('\n'), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_set_over_a_file_is_not_blamed_on_it() {
        let cases = [
            ("train.lr", "fast", "`train.lr`: expected a number, got the text \"fast\""),
            ("train.batch", "0", "`train.batch` must lie in"),
            ("lr", "3", "unknown key `lr`; did you mean `train.lr`?"),
            ("trian.lr", "3", "there is no table `trian`; did you mean `train`?"),
            ("seed", "18446744073709551615", "`seed` is 18446744073709551615, beyond TOML's whole numbers"),
            ("train.epochs", "-99999999999999999999", "beyond TOML's whole numbers"),
        ];
        for (key, value, expected) in cases {
            let (said, in_file) = says("[train]\nlr = 0.1\nbatch = 8\n", &[(key, value)]);
            assert!(said.contains(expected) && !in_file, "{key}={value}: {said}");
        }
        let (said, in_file) = says("[train]\nbatch = 0\n", &[("train.lr", "0.5")]);
        assert!(in_file && said.starts_with("line 2: `train.batch`"), "{said}");
    }

    #[test]
    fn every_key_of_a_recipe_is_documented() {
        let keys: Vec<String> = documented_keys().collect();
        for key in ["seed", "model.dropout", "data.channels", "augment.rand_augment", "train.lr", "temperature.end"] {
            assert!(keys.iter().any(|k| k == key), "{key} is missing in {keys:?}");
        }
    }
}
