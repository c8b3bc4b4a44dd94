//! The folder of a run: its files, and who may write to them.
//!
//! `run.json` is written last when a folder is created, so a folder that has one can be resumed, whatever happened
//! later. A folder is locked before its content is trusted, until its run ends; files that do not belong to a run are
//! never touched.

mod contents;
mod data;
mod lock;
mod run_file;

use std::fs;
use std::path::{Path, PathBuf};

use dyconv_data::Dataset;
use dyconv_file::write_atomically;
use dyconv_graph::Graph;
use toml::Value;

use crate::error::TrainError;
use crate::files::{LAST, MODEL, NETWORK, RECIPE, RUN};
use crate::recipe::Recipe;
use contents::TWIN;
use contents::{Standing, clear, network_text, remains, standing, sweep};
pub(crate) use data::Data;
pub use lock::FolderLock;
use run_file::{Contents, VERSION, read_contents};

/// The folder of a run. Only one process can hold it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The folder to resume: this one, or that of the run that this one is part of.
    resume: PathBuf,
    recipe: Recipe,
    data: Data,
    /// The model that the run was started from, if this folder was opened and not created.
    from: Option<String>,
    lock: FolderLock,
}

/// A folder that is locked by this process and in which a run may start.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Whether the folder holds a run, which is to be replaced.
    run: bool,
    lock: FolderLock,
}

impl Claim {
    /// Claims a folder for a new run. It is created if it does not exist; nothing in it is changed.
    ///
    /// # Errors
    /// If another process holds it, it holds a run and `force` is not set, or it holds other files.
    pub fn take(path: &Path, force: bool) -> Result<Self, TrainError> {
        // No lock file is put among other files; if there is one already, it is locked first.
        let locked = || path.join(lock::LOCK).exists();
        if !locked()
            && let Standing::Foreign(entries) = standing(path)?
            && !locked()
        {
            return Err(TrainError::Foreign { path: path.to_owned(), entries });
        }
        fs::create_dir_all(path).map_err(|e| TrainError::write(path, e))?;
        let lock = FolderLock::take(path)?;
        let run = match standing(path)? {
            Standing::Free => false,
            Standing::Run if force => true,
            Standing::Run => return Err(TrainError::Exists(path.to_owned())),
            Standing::Foreign(entries) => return Err(TrainError::Foreign { path: path.to_owned(), entries }),
        };
        Ok(Self { path: path.to_owned(), run, lock })
    }

    /// Whether the folder holds a run, which is to be replaced.
    pub fn holds_run(&self) -> bool {
        self.run
    }

    /// Removes the existing run, and no other file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn clear(&mut self) -> Result<(), TrainError> {
        if std::mem::take(&mut self.run) { clear(&self.path) } else { Ok(()) }
    }

    /// Starts a run, optionally from the model in a file, and with a network that is not one of our architectures.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn begin(
        mut self,
        recipe: &Recipe,
        spec: &str,
        dataset: &Dataset,
        from: Option<&Path>,
        network: Option<&Graph>,
    ) -> Result<RunFolder, TrainError> {
        self.clear()?;
        let Self { path, lock, .. } = self;
        let last = path.join(LAST);
        fs::create_dir_all(&last).map_err(|e| TrainError::write(&last, e))?;
        let data = Data::of(spec, dataset);
        let write = |name: &str, text: String| {
            let file = path.join(name);
            write_atomically(&file, text.as_bytes()).map_err(|e| TrainError::write(&file, e))
        };
        write(RECIPE, recipe.to_toml())?;
        network.map_or(Ok(()), |network| write(NETWORK, network_text(network)))?;
        let from = from.map(|model| model.display().to_string());
        let contents = Contents { version: VERSION, data: data.clone(), from };
        write(RUN, serde_json::to_string_pretty(&contents).expect("plain values") + "\n")?;
        let resume = path.clone();
        Ok(RunFolder { path, resume, recipe: recipe.clone(), data, from: None, lock })
    }
}

impl RunFolder {
    /// Creates a folder for a new run; `force` replaces an existing run.
    ///
    /// # Errors
    /// As [`Claim::take`] and [`Claim::begin`].
    pub fn create(
        path: &Path,
        recipe: &Recipe,
        spec: &str,
        dataset: &Dataset,
        force: bool,
    ) -> Result<Self, TrainError> {
        Claim::take(path, force)?.begin(recipe, spec, dataset, None, None)
    }

    /// Opens the folder of an existing run.
    ///
    /// # Errors
    /// If it holds no run, its files are damaged, or another process trains in it.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        if !Self::is_begun(path) {
            return Err(TrainError::NoRun(path.to_owned()));
        }
        let lock = FolderLock::take(path)?;
        let (recipe, Contents { data, from, .. }) = read_all(path)?;
        sweep(path);
        sweep(&path.join(LAST));
        let (path, resume) = (path.to_owned(), path.to_owned());
        Ok(Self { path, resume, recipe, data, from, lock })
    }

    /// Opens the run of the static twin inside that of `path`, if there is one.
    ///
    /// # Errors
    /// As [`RunFolder::open`].
    pub fn open_twin(path: &Path) -> Result<Option<Self>, TrainError> {
        let inside = Self::twin_in(path);
        if remains(&inside) { Ok(Some(Self::open(&inside)?.part_of(path))) } else { Ok(None) }
    }

    /// Whether the folder of a run in `path` holds the run of a twin, complete or not.
    pub fn has_twin(path: &Path) -> bool {
        remains(&Self::twin_in(path))
    }

    /// The folder of the twin's run inside the run folder `path`.
    pub fn twin_in(path: &Path) -> PathBuf {
        path.join(TWIN)
    }

    /// A message for the user if the file system cannot lock the folder.
    pub fn note(&self) -> Option<&str> {
        self.lock.note()
    }

    /// Makes this run a part of another: the folder of that one is the one to resume.
    #[must_use]
    pub fn part_of(mut self, whole: &Path) -> Self {
        self.resume = whole.to_owned();
        self
    }

    /// Path of the folder.
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

    /// Whether the items of the data set are persons with joints.
    pub(crate) fn of_keypoints(&self) -> bool {
        self.data.of_keypoints()
    }

    /// The folder to resume.
    pub(crate) fn resume(&self) -> &Path {
        &self.resume
    }

    /// The model that the run was started from, if its weights are needed because no checkpoint holds them yet.
    pub(crate) fn lost_start(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network, if it is not one of our architectures.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged.
    pub fn network(&self) -> Result<Option<Graph>, TrainError> {
        let file = self.path.join(NETWORK);
        let text = match fs::read_to_string(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| TrainError::read(&file, e))?,
        };
        let damaged = |e| TrainError::damaged(&file, format!("does not describe a network ({e}); restore the file"));
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// The spec of the data set that was given when the run started.
    pub fn data(&self) -> &str {
        &self.data.spec
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Checks that these are the data that the run was started on.
    ///
    /// # Errors
    /// If classes, numbers, names or labels of the images differ.
    pub fn check_data(&self, dataset: &Dataset) -> Result<(), TrainError> {
        match self.data.difference(&Data::of(self.data(), dataset)) {
            Some(difference) => Err(TrainError::OtherData { path: self.path.clone(), difference }),
            None => Ok(()),
        }
    }

    /// Checks that this is the recipe that the run was started with.
    ///
    /// # Errors
    /// If a key differs; the error names the first.
    pub fn check_recipe(&self, given: &Recipe) -> Result<(), TrainError> {
        same_recipe(&self.path, &self.recipe, given)
    }
}

/// The recipe and the data that the run in `path` was started with.
///
/// # Errors
/// If it holds no run, or its files are damaged.
pub(crate) fn read(path: &Path) -> Result<(Recipe, Data), TrainError> {
    read_all(path).map(|(recipe, contents)| (recipe, contents.data))
}

fn read_all(path: &Path) -> Result<(Recipe, Contents), TrainError> {
    let contents = read_contents(path)?;
    let file = path.join(RECIPE);
    let text = fs::read_to_string(&file).map_err(|e| TrainError::read(&file, e))?;
    let recipe = Recipe::begun(&text).map_err(|cause| TrainError::Recipe { path: file, cause })?;
    Ok((recipe, contents))
}

/// # Errors
/// If the recipes differ; the error names the first key.
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

/// The first dotted key with different values, and both values.
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
        assert!(matches!(create(false), Err(TrainError::Busy(_))));
        assert!(matches!(create(true), Err(TrainError::Busy(_))));
        assert!(matches!(RunFolder::open(&path), Err(TrainError::Busy(_))));
        drop(folder);
        fs::write(path.join("mine.txt"), "kept").unwrap();
        fs::write(path.join(".dyconv-halfof"), "").unwrap();
        let folder = RunFolder::open(&path).unwrap();
        assert_eq!((folder.recipe(), folder.data()), (&recipe, "digits"));
        assert!(!path.join(".dyconv-halfof").exists());
        drop(folder);
        assert!(matches!(create(false), Err(TrainError::Exists(_))));
        drop(create(true).unwrap());
        assert!(path.join("mine.txt").exists(), "only a run's own files are removed");
    }

    #[test]
    fn files_of_somebody_else_are_never_touched() {
        let recipe = Recipe::resolve(Some("digits"), None, &[]).unwrap();
        let data = digits(0);
        let foreign: [&[&str]; 9] = [
            &["last/notes.txt", "report.html"],
            &["recipe.toml"],
            &["model.safetensors"],
            &["metrics.jsonl", "metrics.csv"],
            &["run.json/inside.txt"],
            &["twin/report.html"],
            &["cat/1.png"],
            &["evaluation.json"],
            &["last/epoch-0000001-batch-00000000.safetensors"],
        ];
        for names in foreign {
            let dir = tempfile::tempdir().unwrap();
            for name in names {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "mine").unwrap();
            }
            for force in [false, true] {
                let error = RunFolder::create(dir.path(), &recipe, "digits", &data, force).unwrap_err();
                let first = names[0].split('/').next().unwrap();
                assert!(matches!(&error, TrainError::Foreign { entries, .. } if entries.contains(first)), "{error}");
            }
            assert!(!dir.path().join(lock::LOCK).exists(), "not even a lock is put there");
            names.iter().for_each(|name| assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"mine"));
        }
        // Hidden files do not prevent a run, and are kept.
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".gitignore"), "*").unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        drop(RunFolder::create(dir.path(), &recipe, "digits", &data, false).unwrap());
        assert!(dir.path().join(".gitignore").exists());
    }

    #[test]
    fn a_run_that_is_replaced_takes_only_its_own_files_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::resolve(Some("digits"), None, &[]).unwrap();
        let create = |force| RunFolder::create(dir.path(), &recipe, "digits", &digits(0), force);
        drop(create(false).unwrap());
        let kept = ["notes.md", ".hidden", "last/mine.safetensors", "last/epoch-final.safetensors", "twin/photo.png"];
        let gone = ["model.safetensors", "report.html", "last/epoch-0000001-batch-00000000.safetensors"];
        for name in kept.iter().chain(&gone) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert!(matches!(create(false), Err(TrainError::Exists(_))));
        gone.iter()
            .for_each(|name| assert!(dir.path().join(name).exists(), "{name}: nothing goes unless it is replaced"));
        drop(create(true).unwrap());
        kept.iter().for_each(|name| assert!(dir.path().join(name).exists(), "{name} is lost"));
        gone.iter().for_each(|name| assert!(!dir.path().join(name).exists(), "{name} is still there"));
        RunFolder::open(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_whose_making_was_cut_short_is_free() {
        let recipe = Recipe::resolve(Some("digits"), None, &[]).unwrap();
        let data = digits(0);
        let left: [&[&str]; 4] = [&[], &["last"], &["last", "recipe.toml"], &["last", "recipe.toml", "twin"]];
        for left in left {
            let dir = tempfile::tempdir().unwrap();
            drop(FolderLock::take(dir.path()).unwrap());
            for name in left {
                match *name {
                    "last" => fs::create_dir(dir.path().join(LAST)).unwrap(),
                    "recipe.toml" => fs::write(dir.path().join(RECIPE), recipe.to_toml()).unwrap(),
                    _ => drop(RunFolder::create(&dir.path().join(TWIN), &recipe, "digits", &data, false).unwrap()),
                }
            }
            fs::write(dir.path().join(".dyconv-a1B2c3"), "half").unwrap();
            drop(RunFolder::create(dir.path(), &recipe, "digits", &data, false).unwrap());
        }
        // A handwritten recipe is not recognised as ours, nor is a twin that was trained.
        let dir = tempfile::tempdir().unwrap();
        drop(FolderLock::take(dir.path()).unwrap());
        fs::write(dir.path().join(RECIPE), "[train]\nepochs = 3\n").unwrap();
        assert!(matches!(Claim::take(dir.path(), true), Err(TrainError::Foreign { .. })));
        fs::remove_file(dir.path().join(RECIPE)).unwrap();
        let twin = dir.path().join(TWIN);
        drop(RunFolder::create(&twin, &recipe, "digits", &data, false).unwrap());
        fs::write(twin.join(MODEL), "trained").unwrap();
        assert!(matches!(Claim::take(dir.path(), true), Err(TrainError::Foreign { .. })));
    }

    #[test]
    fn of_many_that_begin_at_once_one_has_the_folder() {
        const MANY: usize = 6;
        let data = digits(0);
        for round in 0..12 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("run");
            let force = round % 2 == 1;
            let recipes: Vec<Recipe> = (0..MANY as u64)
                .map(|seed| Recipe { seed, ..Recipe::resolve(Some("digits"), None, &[]).unwrap() })
                .collect();
            if round % 4 == 3 {
                drop(RunFolder::create(&path, &recipes[0], "digits", &data, false).unwrap());
            }
            let barrier = std::sync::Barrier::new(MANY);
            let results: Vec<Result<RunFolder, TrainError>> = std::thread::scope(|scope| {
                let begin = |recipe| {
                    let (path, data, barrier) = (&path, &data, &barrier);
                    move || {
                        barrier.wait();
                        let result = RunFolder::create(path, recipe, "digits", data, force);
                        // The lock is held until all threads have tried.
                        barrier.wait();
                        result
                    }
                };
                let threads: Vec<_> = recipes.iter().map(|recipe| scope.spawn(begin(recipe))).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            let won: Vec<&RunFolder> = results.iter().flatten().collect();
            assert_eq!(won.len(), 1, "round {round}: {results:?}");
            let lost = results.iter().filter_map(|r| r.as_ref().err());
            lost.for_each(|e| assert!(matches!(e, TrainError::Busy(_)), "round {round}: {e}"));
            let (recipe, _) = read(&path).unwrap();
            assert_eq!(&recipe, won[0].recipe(), "round {round}");
        }
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
        other.model.options.width = Some(0.5);
        let error = folder.check_recipe(&other).unwrap_err().to_string();
        assert!(error.contains("model.width = unset, not 0.5"), "{error}");
        let error = folder.check_data(&digits(1)).unwrap_err().to_string();
        assert!(error.contains("1432 + 365 images then (train + val)"), "{error}");
    }
}
