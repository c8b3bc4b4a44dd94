//! Chooses the images on which a model is scored: not those that it was trained on.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use dyconv_data::{Dataset, OpenOptions, Split};
use dyconv_file::Model;
use dyconv_task::{DataMatch, Fingerprint};
use serde::Deserialize;
use toml::Table;

use crate::output::thousands;
use crate::text::name;

/// Maximum number of classes that are listed.
const LISTED: usize = 5;

/// The data to score.
pub struct HeldOut {
    /// The data, split like the model's recipe splits them.
    pub dataset: Arc<Dataset>,
    pub split: Split,
    /// Description of the part: `the held-out part`.
    pub what: String,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Opens a data set and chooses the part on which the model of a file is scored; `asked` overrides the choice.
pub fn open<W>(file: &Path, model: &Model<W>, data: &str, asked: Option<Split>) -> anyhow::Result<HeldOut> {
    let provenance = &model.provenance;
    let options = match split_options(&provenance.recipe) {
        // In this case it does not matter what was held out.
        Err(_) if asked == Some(Split::All) => OpenOptions::default(),
        options => options
            .with_context(|| format!("{}: does not say which images were held out; see --split all", file.display()))?,
    };
    let dataset = Arc::new(Dataset::open(data, &options)?);
    let scored = |split, what: String, warnings| -> anyhow::Result<HeldOut> {
        if asked.is_some() {
            dataset.check_part(data, split)?;
        }
        Ok(HeldOut { dataset: Arc::clone(&dataset), split, what, warnings })
    };
    let all = thousands(dataset.len(Split::All) as u64);
    if dataset.has_own_split() {
        let split = asked.unwrap_or(Split::Val);
        return scored(split, named(split).to_owned(), Vec::new());
    }
    let drawn = matches!(asked, None | Some(Split::Val | Split::Train));
    let split = asked.unwrap_or(Split::Val);
    let what = named(split).to_owned();
    let known = provenance.data.as_ref().map(|then| (then, dataset.fingerprint()));
    match known {
        _ if !drawn => scored(split, what, Vec::new()),
        None if provenance.recipe.is_empty() && asked.is_none() => {
            scored(Split::All, format!("all {all}: the model does not say what it was trained on"), Vec::new())
        }
        None if provenance.recipe.is_empty() => scored(split, what, Vec::new()),
        None => {
            let warning = "the model file does not say what the model was trained on, and its part that was held out may have \
                           been drawn in another way: it may have learned from some of these images";
            scored(split, what, vec![warning.to_owned()])
        }
        Some((then, now)) => match then.compare(&now) {
            DataMatch::Same if asked.is_none() && dataset.is_empty(Split::Val) => {
                bail!(
                    "{data}: the model was trained on all of these images, none was held out; --split all scores them"
                )
            }
            DataMatch::Same => scored(split, what, Vec::new()),
            DataMatch::Changed => scored(split, what, vec![changed(then, &now, model.classes(), dataset.classes())]),
            DataMatch::Other if asked.is_none() => {
                let what = format!("all {all}: these are not the data that the model was trained on");
                scored(Split::All, what, Vec::new())
            }
            DataMatch::Other => {
                let warning =
                    "these are not the data that the model was trained on, so that nothing of them was held out";
                scored(split, what, vec![warning.to_owned()])
            }
        },
    }
}

/// Describes how the data differ from those that the model was trained on.
fn changed(then: &Fingerprint, now: &Fingerprint, model: &[String], data: &[String]) -> String {
    let numbers = match (then.items, now.items) {
        (a, b) if a == b => format!("still {}, but some with other names, labels or content", thousands(a as u64)),
        (a, b) => format!("{} images then, {} now", thousands(a as u64), thousands(b as u64)),
    };
    let missing = |from: &[String], of: &[String], what: &str| {
        let of: HashSet<&String> = of.iter().collect();
        let missing: Vec<String> = from.iter().filter(|c| !of.contains(c)).map(|c| format!("`{}`", name(c))).collect();
        let more = missing.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        match missing.is_empty() {
            true => String::new(),
            false => format!("; {what} {}{more}", missing.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ")),
        }
    };
    let gone = missing(model, data, "no longer there:");
    let new = missing(data, model, "classes that the model does not know:");
    format!(
        "the data have changed since the model was trained on them: {numbers}{gone}{new}. What is held out is drawn by name, so \
         that an image that it learned from is scored only if it was renamed"
    )
}

/// The keys of a complete recipe that determine the split. The other keys are ignored, so a model from another version,
/// whose recipe has more or fewer keys, can be scored, also without the feature `train`.
#[derive(Deserialize)]
struct SplitRecipe {
    seed: u64,
    data: SplitData,
}

#[derive(Deserialize)]
struct SplitData {
    val_fraction: f32,
}

/// The split of the model's recipe. There are no defaults: a damaged recipe is an error.
fn split_options(recipe: &str) -> anyhow::Result<OpenOptions> {
    if recipe.is_empty() {
        return Ok(OpenOptions::default());
    }
    let damaged = "the recipe in the model file is damaged";
    let table: Table = recipe.parse().ok().with_context(|| format!("{damaged}: it is no TOML"))?;
    let wrong = |e: toml::de::Error| anyhow!("{damaged}: {}", e.to_string().trim_end().replace('\n', " "));
    let SplitRecipe { seed, data: SplitData { val_fraction } } = table.try_into().map_err(wrong)?;
    ensure!((0.0..1.0).contains(&val_fraction), "{damaged}: `data.val_fraction` is {val_fraction}");
    Ok(OpenOptions { seed, val_fraction })
}

fn named(split: Split) -> &'static str {
    match split {
        Split::Train => "the training part",
        Split::Val => "the held-out part",
        Split::Test => "the test part",
        Split::All => "all of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_recipe_is_no_default_one() {
        let good = "seed = 7\n[data]\nval_fraction = 0.25\n";
        let options = split_options(good).unwrap();
        assert_eq!((options.seed, options.val_fraction), (7, 0.25));
        assert_eq!(split_options("").unwrap().seed, OpenOptions::default().seed);
        for (bad, expected) in [
            ("seed = ", "no TOML"),
            ("[data]\nval_fraction = 0.2", "`seed`"),
            ("seed = 0\n[data]\nbatch = 1", "`val_fraction`"),
            ("seed = -1\n[data]\nval_fraction = 0.2", "`seed`"),
            ("seed = \"x\"\n[data]\nval_fraction = 0.2", "`seed`"),
            ("seed = 0", "`data`"),
            ("seed = 0\n[data]\nval_fraction = 1.5", "`data.val_fraction`"),
            ("seed = 0\n[data]\nval_fraction = nan", "`data.val_fraction`"),
        ] {
            let error = split_options(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn what_changed_is_told() {
        let print = |items, names| Fingerprint { items, names, sample: Vec::new() };
        let classes = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let said = changed(&print(1200, 0), &print(1203, 1), &classes(&["cat", "dog"]), &classes(&["cat", "eel"]));
        for words in ["1,200 images then, 1,203 now", "no longer there: `dog`", "does not know: `eel`", "renamed"] {
            assert!(said.contains(words), "{said}");
        }
        let said = changed(&print(7, 0), &print(7, 1), &classes(&["a"]), &classes(&["a"]));
        assert!(said.contains("still 7, but some with other names") && !said.contains("no longer"), "{said}");
    }
}
