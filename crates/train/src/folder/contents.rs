//! The content of a folder: a run, nothing, or files that are not ours, which are never touched.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use dyconv_graph::Graph;

use super::lock::LOCK;
use super::run_file::read_contents;
use crate::checkpoint::is_checkpoint;
use crate::error::TrainError;
use crate::files::{CSV, EVALUATION, EVENTS, JOURNAL, LAST, MODEL, NETWORK, RECIPE, REPORT, RUN};
use crate::recipe::Recipe;

/// The files of a run except its checkpoints. `run.json` is removed last: as long as it exists, a run can be removed.
const FILES: [&str; 9] = [MODEL, EVALUATION, JOURNAL, CSV, EVENTS, REPORT, NETWORK, RECIPE, RUN];
/// Folder of the static twin's run inside the run folder of the dynamic network.
pub(super) const TWIN: &str = "twin";
/// Folder in which file systems put recovered files.
const LOST: &str = "lost+found";
/// Number of names that are listed.
const LISTED: usize = 5;

/// The state of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Empty, or with leftovers of a process that was killed while creating the folder. Hidden files do not count.
    Free,
    /// A run.
    Run,
    /// No run, but other files: a list of them.
    Foreign(String),
}

/// Examines a folder, which need not exist.
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
        NETWORK => begun && is_our_network(&path.join(NETWORK)),
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

/// Whether a folder holds a run, or remains of one.
pub(super) fn remains(path: &Path) -> bool {
    let checkpoints = || names(&path.join(LAST)).is_ok_and(|names| names.iter().any(|name| is_checkpoint(name)));
    FILES.iter().any(|name| path.join(name).exists()) || checkpoints()
}

/// Removes only the files of a run: other files are kept, beside them and in `last/`.
pub(super) fn clear(path: &Path) -> Result<(), TrainError> {
    let last = path.join(LAST);
    for name in names(&last).unwrap_or_default().iter().filter(|name| is_checkpoint(name)) {
        remove(&last.join(name))?;
    }
    for name in FILES {
        remove(&path.join(name))?;
    }
    // It is kept if it is not empty.
    let _ = fs::remove_dir(&last);
    Ok(())
}

/// Removes temporary files of a killed process.
pub(super) fn sweep(path: &Path) {
    for name in names(path).unwrap_or_default().iter().filter(|name| is_half_written(name)) {
        // A leftover that cannot be removed does no harm.
        let _ = fs::remove_file(path.join(name));
    }
}

/// Whether this is a temporary file name of `dyconv_file::write_atomically`.
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

/// Whether a recipe is complete and byte for byte as a run writes it; recipes written by hand are shorter.
fn is_our_recipe(path: &Path) -> bool {
    let text = fs::metadata(path).ok().filter(fs::Metadata::is_file).and_then(|_| fs::read_to_string(path).ok());
    text.is_some_and(|text| Recipe::resolve(None, Some(&text), &[]).is_ok_and(|recipe| recipe.to_toml() == text))
}

/// Whether a network is byte for byte as a run writes it.
fn is_our_network(path: &Path) -> bool {
    let text = fs::metadata(path).ok().filter(fs::Metadata::is_file).and_then(|_| fs::read_to_string(path).ok());
    text.is_some_and(|text| serde_json::from_str::<Graph>(&text).is_ok_and(|graph| network_text(&graph) == text))
}

/// The content of the file of a network.
pub(super) fn network_text(graph: &Graph) -> String {
    serde_json::to_string_pretty(graph).expect("plain values") + "\n"
}

/// Whether a run folder holds no step yet, or was not even completed.
fn is_unstarted(path: &Path) -> bool {
    match standing(path) {
        Ok(Standing::Free) => true,
        Ok(Standing::Run) => {
            [MODEL, JOURNAL].iter().all(|name| !path.join(name).exists()) && is_empty(&path.join(LAST))
        }
        _ => false,
    }
}
