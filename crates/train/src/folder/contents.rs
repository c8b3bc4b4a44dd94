//! What stands in a folder: a run, nothing, or something of somebody else's, which is never touched.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::lock::LOCK;
use super::run_file::read_contents;
use crate::checkpoint::is_checkpoint;
use crate::error::TrainError;
use crate::files::{CSV, EVALUATION, EVENTS, JOURNAL, LAST, MODEL, RECIPE, REPORT, RUN};
use crate::recipe::Recipe;

/// The files of a run beside its checkpoints. `run.json` comes last: as long as it stands, a run can be removed.
const FILES: [&str; 8] = [MODEL, EVALUATION, JOURNAL, CSV, EVENTS, REPORT, RECIPE, RUN];
/// Folder of the static twin's run inside that of the network.
pub(super) const TWIN: &str = "twin";
/// Where file systems put what they found.
const LOST: &str = "lost+found";
/// So many names are listed.
const LISTED: usize = 5;

/// What stands in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, or what a process left that was killed while it made the folder. Hidden files do not count.
    Free,
    /// A run.
    Run,
    /// No run, but something else: a list of it.
    Foreign(String),
}

/// Looks into a folder, which need not exist.
pub(super) fn standing(path: &Path) -> Result<Standing, TrainError> {
    let names = match names(path) {
        Err(e) if is_absent(&e) => return Ok(Standing::Free),
        names => names.map_err(|e| TrainError::read(path, e))?,
    };
    if path.join(RUN).is_file() {
        return read_contents(path).map(|_| Standing::Run);
    }
    let begun = fs::metadata(path.join(LOCK)).is_ok_and(|m| m.is_file() && m.len() == 0);
    let is_ours = |name: &str| match name {
        LOCK => begun,
        LAST => is_empty(&path.join(LAST)),
        RECIPE => begun && is_our_recipe(&path.join(RECIPE)),
        TWIN => begun && is_unstarted(&path.join(TWIN)),
        LOST => true,
        name => name.starts_with('.'),
    };
    let foreign: Vec<&String> = names.iter().filter(|name| !is_ours(name)).collect();
    if foreign.is_empty() {
        return Ok(Standing::Free);
    }
    let slash = |name: &str| if path.join(name).is_dir() { "/" } else { "" };
    let listed = foreign.iter().take(LISTED).map(|name| format!("{}{}", name.escape_debug(), slash(name)));
    let listed = listed.collect::<Vec<_>>().join(", ");
    Ok(Standing::Foreign(match foreign.len().saturating_sub(LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }))
}

/// Whether a run stands in a folder, or what is left of one.
pub(super) fn remains(path: &Path) -> bool {
    let checkpoints = || names(&path.join(LAST)).is_ok_and(|names| names.iter().any(|name| is_checkpoint(name)));
    FILES.iter().any(|name| path.join(name).exists()) || checkpoints()
}

/// Removes the files of a run and nothing else: other files stay, beside them and in `last/`.
pub(super) fn clear(path: &Path) -> Result<(), TrainError> {
    let last = path.join(LAST);
    for name in names(&last).unwrap_or_default().iter().filter(|name| is_checkpoint(name)) {
        remove(&last.join(name))?;
    }
    for name in FILES {
        remove(&path.join(name))?;
    }
    // It stays where it is not empty.
    let _ = fs::remove_dir(&last);
    Ok(())
}

/// Removes what a killed process left half written.
pub(super) fn sweep(path: &Path) {
    for name in names(path).unwrap_or_default().iter().filter(|name| is_half_written(name)) {
        // A leftover that cannot be removed harms nobody.
        let _ = fs::remove_file(path.join(name));
    }
}

/// As `dyconv_file::write_atomically` names what it writes before it is renamed.
fn is_half_written(name: &str) -> bool {
    let random = name.strip_prefix(".dyconv-");
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn remove(path: &Path) -> Result<(), TrainError> {
    match fs::remove_file(path) {
        Err(e) if is_absent(&e) => Ok(()),
        result => result.map_err(|e| TrainError::Remove { path: path.to_owned(), cause: e }),
    }
}

fn names(path: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_empty(path: &Path) -> bool {
    names(path).is_ok_and(|names| names.iter().all(|name| name.starts_with('.')))
}

/// Whether a recipe is complete and written as a run's is, to the byte; people's own are short.
fn is_our_recipe(path: &Path) -> bool {
    let text = fs::metadata(path).ok().filter(fs::Metadata::is_file).and_then(|_| fs::read_to_string(path).ok());
    text.is_some_and(|text| Recipe::resolve(None, Some(&text), &[]).is_ok_and(|recipe| recipe.to_toml() == text))
}

/// Whether no step was made in a run's folder, or it was not even finished.
fn is_unstarted(path: &Path) -> bool {
    match standing(path) {
        Ok(Standing::Free) => true,
        Ok(Standing::Run) => {
            [MODEL, JOURNAL].iter().all(|name| !path.join(name).exists()) && is_empty(&path.join(LAST))
        }
        _ => false,
    }
}
