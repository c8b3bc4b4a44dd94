//! Folders that are not data: created among pictures by systems, programs and runs.

use std::fs::DirEntry;
use std::path::Path;

use crate::extensions::is_image;

/// Names of folders that file managers, file systems and network drives create, in lower case.
const SYSTEM: [&str; 9] = [
    "__macosx",
    "@eadir",
    "lost+found",
    "$recycle.bin",
    "system volume information",
    "#recycle",
    "#snapshot",
    "@recycle",
    "__pycache__",
];

/// Deepest nesting of folders above runs that is searched, as in `runs/model/seed/run.json`.
const DEPTH: usize = 4;

/// Whether a folder of this name is never data, such as all that begin with a dot.
pub(super) fn is_system(name: &str) -> bool {
    name.starts_with('.') || SYSTEM.contains(&name.to_lowercase().as_str())
}

/// Why a folder holds results instead of data, if it does: it is a run, or holds nothing but runs.
pub(super) fn run(folder: &Path) -> Option<&'static str> {
    if is_run(folder) {
        Some("holds a run")
    } else if holds_runs(folder, DEPTH) {
        Some("holds runs")
    } else {
        None
    }
}

fn is_run(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    (has("run.json") || (has("model.safetensors") && has("recipe.toml"))) && !holds_picture(folder)
}

fn holds_picture(folder: &Path) -> bool {
    entries(folder).any(|entry| is_image(&entry.path()))
}

/// Whether there are folders that all are runs or hold runs, and no picture beside them.
fn holds_runs(folder: &Path, depth: usize) -> bool {
    let mut found = false;
    for entry in entries(folder) {
        let path = entry.path();
        if is_image(&path) {
            return false;
        }
        if entry.file_name().to_str().is_some_and(is_system) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if !is_run(&path) && (depth == 0 || !holds_runs(&path, depth - 1)) {
            return false;
        }
        found = true;
    }
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok)
}
