//! Cells on disk: finds folders of runs that differ only in their seeds, and names them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use dyconv_train::RunFolder;

/// Prefix of the folder of a run; its seed follows.
const SEED: &str = "seed-";

/// A folder that holds `seed-0`, `seed-1`, ….
pub struct Cell {
    /// Its path without the leading folders that all cells share.
    pub name: String,
    /// Its path as given, or as found below a given folder.
    pub path: PathBuf,
    /// The run folders in it, in numerical order. Some may hold no run.
    pub runs: Vec<PathBuf>,
}

/// The cells that `folders` are or contain, in the given order and then by name; each only once, even if it is named
/// several times.
///
/// # Errors
/// If a folder cannot be read, or contains no cell.
pub fn find(folders: &[PathBuf]) -> anyhow::Result<Vec<Cell>> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut known = Vec::new();
    for folder in folders {
        for (path, runs) in inside(folder)? {
            let place = fs::canonicalize(&path).with_context(|| path.display().to_string())?;
            if !known.contains(&place) {
                known.push(place);
                cells.push(Cell { name: String::new(), path, runs });
            }
        }
    }
    let names = names(&cells.iter().map(|cell| cell.path.as_path()).collect::<Vec<_>>());
    cells.iter_mut().zip(names).for_each(|(cell, name)| cell.name = name);
    Ok(cells)
}

/// The folder itself with its runs, or the cells in it.
fn inside(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<PathBuf>)>> {
    let runs = seeds(folder)?;
    if !runs.is_empty() {
        return Ok(vec![(folder.to_owned(), runs)]);
    }
    if RunFolder::is_begun(folder) {
        bail!("{}: is a single run, expected the folder of runs called seed-0, seed-1, …", folder.display());
    }
    let mut cells = Vec::new();
    for path in folders(folder)? {
        let runs = seeds(&path)?;
        if !runs.is_empty() {
            cells.push((path, runs));
        }
    }
    if cells.is_empty() {
        bail!(
            "{}: holds no runs, expected folders seed-0, seed-1, … as `dyconv ablate` makes them, or folders of such",
            folder.display()
        );
    }
    Ok(cells)
}

/// The subfolders of `folder` that are named like runs, by number.
fn seeds(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(SEED)?.parse::<u64>().ok();
    let mut seeds: Vec<(u64, PathBuf)> =
        folders(folder)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    seeds.sort();
    Ok(seeds.into_iter().map(|(_, path)| path).collect())
}

/// The subfolders of a folder, by name, with numbers compared by value: `kernels=2` before `kernels=16`.
fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unread = || format!("{}: cannot be read as a folder", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(unread)? {
        let path = entry.with_context(unread)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort_by_cached_key(|path| by_value(&path.file_name().unwrap_or_default().to_string_lossy()));
    Ok(found)
}

/// Sort key of a name: its letters, integers and decimal places in turn, then the name itself.
fn by_value(name: &str) -> (Vec<(String, u64, String)>, String) {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (mut parts, mut rest) = (Vec::new(), name);
    while !rest.is_empty() {
        let (letters, number) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (whole, after) = number.split_at(digits(number));
        let places = after.strip_prefix('.').map_or("", |places| &places[..digits(places)]);
        // An empty number counts as zero; one that is too large counts as the maximum.
        let value = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u64::MAX) };
        parts.push((letters.to_owned(), value, places.to_owned()));
        rest = if places.is_empty() { after } else { &after[1 + places.len()..] };
    }
    (parts, name.to_owned())
}

/// Paths without the leading folders that all of them share.
fn names(paths: &[&Path]) -> Vec<String> {
    let paths: Vec<Vec<Component<'_>>> = paths.iter().map(|path| parts(path).collect()).collect();
    let most = paths.iter().map(Vec::len).min().unwrap_or(0).saturating_sub(1);
    let shared = (0..most).take_while(|i| paths.iter().all(|path| path[*i] == paths[0][*i])).count();
    let name = |path: &Vec<Component<'_>>| path[shared..].iter().collect::<PathBuf>().display().to_string();
    paths.iter().map(name).map(|name| if name.is_empty() { ".".to_owned() } else { name }).collect()
}

/// The components of a path without `.`.
fn parts(path: &Path) -> impl Iterator<Item = Component<'_>> {
    path.components().filter(|part| *part != Component::CurDir)
}

/// The cell that `word` refers to: the one with this name, or the only one whose path ends with it.
///
/// # Errors
/// If no cell or several cells match.
pub fn choose(cells: &[Cell], word: &str) -> anyhow::Result<usize> {
    let path: PathBuf = parts(Path::new(word)).collect();
    if let Some(i) = cells.iter().position(|cell| cell.name == word || Path::new(&cell.name) == path) {
        return Ok(i);
    }
    let ends = |cell: &Cell| !path.as_os_str().is_empty() && cell.path.ends_with(&path);
    let meant: Vec<usize> = (0..cells.len()).filter(|i| ends(&cells[*i])).collect();
    match meant[..] {
        [i] => Ok(i),
        [] => {
            let near =
                dyconv_graph::words::suggest(word, cells.iter().map(|cell| cell.name.as_str())).unwrap_or_default();
            bail!("--to: no cell is called `{word}`; did you mean `{near}`?")
        }
        [i, j, ..] => bail!("--to: `{word}` may be {} or {}", cells[i].name, cells[j].name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[&str]) -> Vec<String> {
        names(&paths.iter().map(Path::new).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_paths_without_what_all_share() {
        assert_eq!(named(&["runs/a/kernels=1", "runs/a/kernels=4"]), ["kernels=1", "kernels=4"]);
        assert_eq!(named(&["runs/a/kernels=1", "runs/b/kernels=1"]), ["a/kernels=1", "b/kernels=1"]);
        assert_eq!(named(&["/x/runs/a/"]), ["a"]);
        assert_eq!(named(&["./runs/a", "runs/a/b"]), ["a", "a/b"]);
        assert_eq!(named(&["../a/x", "/b/x"]), ["../a/x", "/b/x"]);
        assert_eq!(named(&["."]), ["."]);
        assert_eq!(named(&[".", "other"]), [".", "other"]);
    }

    #[test]
    fn numbers_in_names_sort_by_value() {
        let sorted = [
            "k=02",
            "k=2",
            "k=2,w=0.05",
            "k=2,w=0.5",
            "k=2,w=1",
            "k=2,w=1.1",
            "k=2,w=1.25",
            "k=4",
            "k=16",
            "k=16.",
            "k=99999999999999999999",
            "tau=30",
            "tau=anneal",
            "τ=1",
        ];
        let mut names = sorted;
        names.sort_unstable();
        assert_ne!(names, sorted);
        names.sort_by_cached_key(|name| by_value(name));
        assert_eq!(names, sorted);
    }

    #[test]
    fn a_cell_is_chosen_by_its_name_or_by_the_end_of_its_path() {
        let paths = ["runs/a/k=1", "runs/a/k=2", "runs/b/k=1"];
        let names = named(&paths).into_iter();
        let cells: Vec<Cell> =
            names.zip(paths).map(|(name, path)| Cell { name, path: path.into(), runs: Vec::new() }).collect();
        for (word, expected) in [("a/k=1", 0), ("runs/a/k=1", 0), ("./runs/b/k=1/", 2), ("k=2", 1), ("b/k=1/", 2)] {
            assert_eq!(choose(&cells, word).unwrap(), expected, "{word}");
        }
        let says = |word: &str| choose(&cells, word).unwrap_err().to_string();
        assert_eq!(says("k=1"), "--to: `k=1` may be a/k=1 or b/k=1");
        assert_eq!(says("b/k=2"), "--to: no cell is called `b/k=2`; did you mean `a/k=2`?");
        assert!(says("").contains("did you mean"));
    }
}
