//! `--set TABLE.KEY=VALUE` where there is no recipe: values in TOML's syntax, written over a table of defaults.

use anyhow::bail;
use toml::{Table, Value};

/// Parses `model.gate=sigmoid` to a table; a bare word is a string. `example` is shown if the form is wrong.
pub fn parse(text: &str, example: &str) -> Result<Table, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, e.g. {example}"))?;
    let parsed = format!("{key} = {value}").parse().or_else(|_| format!("{key} = {}", Value::from(value)).parse());
    parsed.map_err(|_| format!("`{key}` is no key"))
}

/// Writes all settings, which must be of the table `name`, over `base`. `what` says what can be set.
pub fn apply(base: &mut Table, set: &[Table], name: &str, what: &str) -> anyhow::Result<()> {
    for table in set {
        match table.iter().next() {
            Some((key, Value::Table(given))) if key == name => overlay(base, given),
            Some((key, _)) => bail!("--set {key}: only {what} can be set here: {name}.KEY=VALUE"),
            None => {}
        }
    }
    Ok(())
}

/// Overrides the values of `base` with those of `change`, table by table.
fn overlay(base: &mut Table, change: &Table) {
    for (key, value) in change {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(change)) => overlay(base, change),
            (_, value) => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

/// An error of TOML's deserializer as one line.
pub fn one_line(error: &toml::de::Error) -> String {
    error.to_string().trim_end().replace('\n', " ")
}
