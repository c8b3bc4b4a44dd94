//! The folder of a run: which files stand in it, and whose it is.
//!
//! `run.json` is written last when a folder is made, so a folder with one can be resumed, whatever happened later.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use dyconv_data::{Dataset, Split};
use dyconv_file::{Skeleton, write_atomically};
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::{Recipe, TrainError};

/// What makes a folder a run folder: the data it was begun on.
pub(crate) const RUN: &str = "run.json";
const RECIPE: &str = "recipe.toml";
/// The best network so far.
pub(crate) const MODEL: &str = "model.safetensors";
/// How that network did on the held-out images.
pub(crate) const EVALUATION: &str = "evaluation.json";
pub(crate) const JOURNAL: &str = "metrics.jsonl";
pub(crate) const CSV: &str = "metrics.csv";
pub(crate) const EVENTS: &str = "events.out.tfevents.dyconv";
pub(crate) const REPORT: &str = "report.html";
/// The checkpoints.
pub(crate) const LAST: &str = "last";

/// Everything of a run, with `run.json` first: without it the rest is no run.
const FILES: [&str; 8] = [RUN, RECIPE, MODEL, EVALUATION, JOURNAL, CSV, EVENTS, REPORT];
const VERSION: u32 = 1;

/// The folder of a run. Only one process can hold it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// What `--resume` takes: this folder, or the one of the run that this one belongs to.
    resume: PathBuf,
    recipe: Recipe,
    data: Data,
    /// Locked as long as this lives.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    data: Data,
}

/// What a data set is recognised by: names and labels, not pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// As it was given on the command line.
    spec: String,
    classes: Vec<String>,
    /// Of persons; none where the items are images with classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skeleton: Option<Skeleton>,
    train: usize,
    val: usize,
    /// CRC-32C of every item's label and name, in order.
    items: u32,
}

impl Data {
    fn of(spec: &str, dataset: &Dataset) -> Self {
        let items = (0..dataset.len(Split::All)).fold(0, |crc, i| {
            let (label, name) = dataset.item(Split::All, i);
            let joints =
                dataset.person(Split::All, i).map_or(String::new(), |p| format!(" {:?} {:?}", p.bbox, p.joints));
            crc32c::crc32c_append(crc, format!("{label} {name}{joints}\n").as_bytes())
        });
        Self {
            spec: spec.to_owned(),
            classes: dataset.classes().to_vec(),
            skeleton: dataset.people().map(|people| people.skeleton.clone()),
            train: dataset.len(Split::Train),
            val: dataset.len(Split::Val),
            items,
        }
    }

    /// Whether they are persons with joints.
    pub(crate) fn of_joints(&self) -> bool {
        self.skeleton.is_some()
    }

    /// What differs, the spec aside: data may move.
    pub(crate) fn difference(&self, now: &Self) -> Option<String> {
        let joints = |data: &Self| data.skeleton.as_ref().map_or(0, |s| s.joints.len());
        if joints(self) != joints(now) {
            return Some(format!("{} joints then, {} now", joints(self), joints(now)));
        }
        if self.skeleton != now.skeleton {
            return Some("as many joints, but with other names, pairs or sigmas".to_owned());
        }
        if self.classes.len() != now.classes.len() {
            return Some(format!("{} classes then, {} now", self.classes.len(), now.classes.len()));
        }
        if let Some((a, b)) = self.classes.iter().zip(&now.classes).find(|(a, b)| a != b) {
            return Some(format!("a class was called `{a}`, now `{b}`"));
        }
        if (self.train, self.val) != (now.train, now.val) {
            let (a, b) = ((self.train, self.val), (now.train, now.val));
            let items = if self.skeleton.is_some() { "persons" } else { "images" };
            return Some(format!("{} + {} {items} then (train + val), {} + {} now", a.0, a.1, b.0, b.1));
        }
        (self.items != now.items).then(|| "as many images, but with other names or labels".to_owned())
    }
}

impl RunFolder {
    /// Makes a folder for a new run; `force` removes a run that stands there.
    ///
    /// # Errors
    /// When it holds a run, or cannot be written.
    pub fn create(
        path: &Path,
        recipe: &Recipe,
        spec: &str,
        dataset: &Dataset,
        force: bool,
    ) -> Result<Self, TrainError> {
        Self::check_free(path, force)?;
        Self::remove(path)?;
        fs::create_dir_all(path.join(LAST)).map_err(|e| TrainError::write(path, e))?;
        let data = Data::of(spec, dataset);
        let write = |name: &str, text: String| {
            write_atomically(&path.join(name), text.as_bytes()).map_err(|e| TrainError::write(&path.join(name), e))
        };
        write(RECIPE, recipe.to_toml())?;
        let contents = Contents { version: VERSION, data: data.clone() };
        write(RUN, serde_json::to_string_pretty(&contents).expect("plain values") + "\n")?;
        let (path, resume) = (path.to_owned(), path.to_owned());
        Ok(Self { _lock: lock(&path)?, path, resume, recipe: recipe.clone(), data })
    }

    /// Whether a new run may begin in `path`.
    ///
    /// # Errors
    /// When a run stands there and is not to be replaced, or another process trains in it.
    pub fn check_free(path: &Path, force: bool) -> Result<(), TrainError> {
        let begun = path.join(RUN).exists();
        if !force && (begun || path.join(MODEL).exists()) {
            return Err(TrainError::Exists(path.to_owned()));
        }
        if begun { lock(path).map(drop) } else { Ok(()) }
    }

    /// Removes the files of a run and nothing else.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove(path: &Path) -> Result<(), TrainError> {
        clear(path).map_err(|e| TrainError::write(path, e))
    }

    /// Opens the folder of a run that was begun.
    ///
    /// # Errors
    /// When it holds no run, its files are damaged, or another process trains in it.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let (recipe, data) = read(path)?;
        let lock = lock(path)?;
        sweep(path);
        sweep(&path.join(LAST));
        let (path, resume) = (path.to_owned(), path.to_owned());
        Ok(Self { path, resume, recipe, data, _lock: lock })
    }

    /// Says that this run belongs to another: `--resume` takes that one's folder.
    #[must_use]
    pub fn part_of(mut self, whole: &Path) -> Self {
        self.resume = whole.to_owned();
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model file of the best network.
    pub fn model(&self) -> PathBuf {
        Self::model_in(&self.path)
    }

    /// The model file of the best network of the run in `path`.
    pub fn model_in(path: &Path) -> PathBuf {
        path.join(MODEL)
    }

    /// Whether `path` holds a run, finished or not.
    pub fn is_begun(path: &Path) -> bool {
        path.join(RUN).exists()
    }

    /// Whether the data are persons with joints.
    pub(crate) fn of_joints(&self) -> bool {
        self.data.of_joints()
    }

    /// What `--resume` takes.
    pub(crate) fn resume(&self) -> &Path {
        &self.resume
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The data set as it was named when the run began.
    pub fn data(&self) -> &str {
        &self.data.spec
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether these are the data that the run was begun on.
    ///
    /// # Errors
    /// What differs in classes, numbers, names or labels of the images.
    pub fn check_data(&self, dataset: &Dataset) -> Result<(), TrainError> {
        match self.data.difference(&Data::of(self.data(), dataset)) {
            Some(difference) => Err(TrainError::OtherData { path: self.path.clone(), difference }),
            None => Ok(()),
        }
    }

    /// Whether this is the recipe that the run was begun with.
    ///
    /// # Errors
    /// The first key that differs.
    pub fn check_recipe(&self, given: &Recipe) -> Result<(), TrainError> {
        same_recipe(&self.path, &self.recipe, given)
    }
}

/// The recipe and the data that the run in `path` was begun with.
///
/// # Errors
/// When it holds no run, or its files are damaged.
pub(crate) fn read(path: &Path) -> Result<(Recipe, Data), TrainError> {
    let file = path.join(RUN);
    let text = match fs::read_to_string(&file) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(TrainError::NoRun(path.to_owned()));
        }
        text => text.map_err(|e| TrainError::read(&file, e))?,
    };
    let contents: Contents = serde_json::from_str(&text)
        .map_err(|e| TrainError::damaged(&file, format!("does not describe a run ({e}); restore the file")))?;
    if contents.version != VERSION {
        let reason = format!("is of version {}, this program resumes version {VERSION}", contents.version);
        return Err(TrainError::damaged(&file, reason));
    }
    let file = path.join(RECIPE);
    let text = fs::read_to_string(&file).map_err(|e| TrainError::read(&file, e))?;
    let recipe = Recipe::resolve(None, Some(&text), &[]).map_err(|source| TrainError::Recipe { path: file, source })?;
    Ok((recipe, contents.data))
}

/// # Errors
/// The first key in which the recipes differ.
pub(crate) fn same_recipe(path: &Path, begun: &Recipe, given: &Recipe) -> Result<(), TrainError> {
    match recipe_difference(begun, given) {
        Some((key, begun, given)) => Err(TrainError::OtherRecipe { path: path.to_owned(), key, begun, given }),
        None => Ok(()),
    }
}

/// The first dotted key in which two recipes differ, and both values.
pub(crate) fn recipe_difference(a: &Recipe, b: &Recipe) -> Option<(String, String, String)> {
    let table = |recipe: &Recipe| Value::try_from(recipe).expect("a recipe is made of tables and plain values");
    difference("", Some(&table(a)), Some(&table(b)))
}

/// The first dotted key with different values, and both.
fn difference(key: &str, a: Option<&Value>, b: Option<&Value>) -> Option<(String, String, String)> {
    if let (Some(Value::Table(a)), Some(Value::Table(b))) = (a, b) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        return keys.into_iter().find_map(|k| {
            let dotted = if key.is_empty() { k.clone() } else { format!("{key}.{k}") };
            difference(&dotted, a.get(k), b.get(k))
        });
    }
    let text = |v: Option<&Value>| v.map_or("unset".to_owned(), Value::to_string);
    (a != b).then(|| (key.to_owned(), text(a), text(b)))
}

/// Holds the folder until the file is dropped or the process ends, however it ends.
fn lock(path: &Path) -> Result<File, TrainError> {
    let file = path.join(RUN);
    let opened = File::open(&file).map_err(|e| TrainError::read(&file, e))?;
    match opened.try_lock() {
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy(path.to_owned())),
        // Not every file system can lock.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(opened),
    }
}

/// Removes a run and nothing else.
fn clear(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        result => result,
    };
    for name in FILES {
        gone(fs::remove_file(path.join(name)))?;
    }
    gone(fs::remove_dir_all(path.join(LAST)))
}

/// Removes what a killed process left half written.
fn sweep(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".dyconv-") {
            // A leftover that cannot be removed harms nobody.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_data::OpenOptions;

    fn digits(seed: u64) -> Dataset {
        Dataset::open("digits", &OpenOptions { seed, ..OpenOptions::default() }).unwrap()
    }

    #[test]
    fn a_run_is_not_overwritten_and_held_by_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let recipe = Recipe::resolve(Some("digits"), None, &[]).unwrap();
        let create = |force| RunFolder::create(&path, &recipe, "digits", &digits(0), force);
        assert!(matches!(RunFolder::open(&path), Err(TrainError::NoRun(_))));
        let folder = create(false).unwrap();
        assert!(matches!(create(false), Err(TrainError::Exists(_))));
        assert!(matches!(create(true), Err(TrainError::Busy(_))));
        assert!(matches!(RunFolder::open(&path), Err(TrainError::Busy(_))));
        drop(folder);
        fs::write(path.join("mine.txt"), "kept").unwrap();
        fs::write(path.join(".dyconv-half"), "").unwrap();
        let folder = RunFolder::open(&path).unwrap();
        assert_eq!((folder.recipe(), folder.data()), (&recipe, "digits"));
        assert!(!path.join(".dyconv-half").exists());
        drop(folder);
        drop(create(true).unwrap());
        assert!(path.join("mine.txt").exists(), "only a run's own files are removed");
    }

    #[test]
    fn other_recipes_and_other_data_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::resolve(Some("digits"), None, &[]).unwrap();
        let folder = RunFolder::create(dir.path(), &recipe, "digits", &digits(0), false).unwrap();
        folder.check_recipe(&recipe).unwrap();
        folder.check_data(&digits(0)).unwrap();
        let mut other = recipe.clone();
        other.train.lr = 0.25;
        let error = folder.check_recipe(&other).unwrap_err().to_string();
        assert!(error.contains("train.lr = 0.1, not 0.25"), "{error}");
        other = recipe;
        other.model.width = Some(0.5);
        let error = folder.check_recipe(&other).unwrap_err().to_string();
        assert!(error.contains("model.width = unset, not 0.5"), "{error}");
        let error = folder.check_data(&digits(1)).unwrap_err().to_string();
        assert!(error.contains("other names or labels"), "{error}");
    }
}
