//! Tar files in WebDataset's layout: `key.jpg` and `key.cls` side by side. File or folder names determine the part.
//!
//! Headers are read once, and data skipped. Memory holds only the position of each image (24 bytes), its name and its
//! label. Pixels are read on demand from their position.

mod group;
mod index;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::part::Part;
use super::{Contents, LeftOut, OwnSplit, read_file};
use crate::decode;
use crate::error::DataError;
use crate::extensions::is_image;
use crate::image::Image;
use crate::limits::DecodeOptions;
use crate::regular;
use crate::words::{listed, shown};
use index::Index;

/// Images inside tar files.
#[derive(Debug)]
pub(crate) struct Shards {
    root: PathBuf,
    /// Paths of the tar files relative to the root, with `/` as separator.
    files: Vec<String>,
    images: Vec<Place>,
    /// The concatenated names of all images.
    names: String,
}

/// The position of an image.
#[derive(Debug)]
struct Place {
    offset: u64,
    /// End of its name in `names`; it begins at the end of the previous one.
    name_end: u64,
    size: u32,
    shard: u32,
}

impl Shards {
    /// Shard and member, e.g. `train-000.tar/17.jpg`.
    pub fn name(&self, index: usize) -> String {
        let start = index.checked_sub(1).map_or(0, |before| self.images[before].name_end);
        let name = &self.names[start as usize..self.images[index].name_end as usize];
        format!("{}/{name}", self.files[self.images[index].shard as usize])
    }

    pub fn load(&self, index: usize, options: &DecodeOptions) -> Result<Image, DataError> {
        let (name, bytes) = self.bytes(index)?;
        decode::decode(&bytes, &name, options)
    }

    /// Full path and bytes of an image.
    pub fn bytes(&self, index: usize) -> Result<(String, Vec<u8>), DataError> {
        let place = &self.images[index];
        let name = self.root.join(self.name(index)).display().to_string();
        let unreadable = |e: io::Error| DataError::new(&name, format!("cannot be read: {e}"));
        let shard = regular::open(&self.root.join(&self.files[place.shard as usize]));
        let mut file = shard.map_err(|e| DataError { name: name.clone(), ..e })?;
        file.seek(SeekFrom::Start(place.offset)).map_err(unreadable)?;
        let size = place.size as usize;
        let mut bytes = Vec::new();
        file.take(size as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() < size {
            let message = format!("{} of {size} bytes: the shard is shorter than when it was opened", bytes.len());
            return Err(DataError::new(name, message));
        }
        Ok((name, bytes))
    }
}

/// Whether there are tar files here or in a folder named after a part of the data.
pub(super) fn is_here(root: &Path) -> bool {
    let has_tars = |folder: &Path| entries(folder).is_ok_and(|paths| paths.iter().any(|path| is_tar(path)));
    let is_part = |path: &PathBuf| part_of_folder(path).is_some() && has_tars(path);
    has_tars(root) || entries(root).is_ok_and(|paths| paths.iter().any(is_part))
}

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |e: io::Error| DataError::at(folder, format!("cannot be read: {e}"));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(unreadable)?;
    paths.sort_unstable();
    Ok(paths)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tar")) && !is_hidden(path) && path.is_file()
}

fn part_of_folder(path: &Path) -> Option<Part> {
    Part::of_folder(path.file_name()?.to_str()?).filter(|_| path.is_dir())
}

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let mut left_out = LeftOut::default();
    let parts = parts(root, &mut left_out)?;
    let mut index = Index::new(root, left_out);
    let (mut counts, mut classes) = ([0; 3], 0);
    for (part, files) in parts.iter().enumerate() {
        let before = index.images();
        for file in files {
            index.add(file.clone())?;
        }
        counts[part] = index.images() - before;
        if counts[part] == 0 && !files.is_empty() {
            let purpose = if part == 0 { String::new() } else { format!(" for {}", Part::ALL[part].purpose()) };
            let message = format!("no images in the tar files{purpose}: expected members `key.jpg` and `key.cls`");
            return Err(DataError::at(root, message));
        }
        // The classes are those of the training part, or of everything if there is none.
        if part == 0 || counts[0] == 0 {
            classes = index.classes();
        }
    }
    let [train, val, test] = counts;
    index.contents(classes, (val + test > 0).then_some(OwnSplit { train, val, test }))
}

/// The tar files for training, validation and testing; all are for training if no name says otherwise.
fn parts(root: &Path, left_out: &mut LeftOut) -> Result<[Vec<String>; 3], DataError> {
    let all = entries(root)?;
    let mut parts = [const { Vec::new() }; 3];
    let here = tars(root, "", &all, left_out)?;
    let mut folders: [Option<&Path>; 3] = [None; 3];
    for path in all.iter().filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(part) = part_of_folder(path) else {
            if !here.is_empty() && entries(path)?.iter().any(|path| is_image(path)) {
                let message = format!(
                    "holds tar files, but also the folder `{}` of images: expected one or the other",
                    shown(&name, 60)
                );
                return Err(DataError::at(root, message));
            }
            left_out.folder(name, Some("beside tar files"));
            continue;
        };
        let inner = entries(path)?;
        if !inner.iter().any(|path| is_tar(path)) {
            left_out.folder(name, Some("no tar files"));
        } else if !here.is_empty() {
            let message = format!("tar files lie in it ({}) and in `{name}`: expected one or the other", listed(&here));
            return Err(DataError::at(root, message));
        } else if let Some(other) = folders[part as usize].replace(path) {
            let message = format!("is for {}, and so is {}: keep or rename one", part.purpose(), other.display());
            return Err(DataError::at(path, message));
        } else {
            parts[part as usize] = tars(path, &format!("{name}/"), &inner, left_out)?;
        }
    }
    if here.is_empty() {
        return Ok(parts);
    }
    let mut unnamed = Vec::new();
    for name in here {
        match Part::in_name(&name)[..] {
            [] => unnamed.push(name),
            [part] => parts[part as usize].push(name),
            _ => {
                let message = "the name says more than one part of the data: rename it";
                return Err(DataError::at(&root.join(name), message));
            }
        }
    }
    let named = parts.iter().map(Vec::len).sum::<usize>();
    if named > 0 && !unnamed.is_empty() {
        let counts: Vec<String> = parts
            .iter()
            .zip(["train", "val", "test"])
            .filter(|(files, _)| !files.is_empty())
            .map(|(files, word)| format!("{} {word}", files.len()))
            .collect();
        let message = format!(
            "{named} names of tar files say their part ({}), {} do not ({}): rename or remove some",
            counts.join(", "),
            unnamed.len(),
            listed(&unnamed)
        );
        return Err(DataError::at(root, message));
    }
    parts[0].extend(unnamed);
    Ok(parts)
}

/// Names of the tar files among the entries of a folder, with `prefix` prepended; counts the other files.
fn tars(folder: &Path, prefix: &str, entries: &[PathBuf], left_out: &mut LeftOut) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for path in entries.iter().filter(|path| !path.is_dir()) {
        let name = path.file_name().and_then(|name| name.to_str());
        if is_tar(path) {
            let name = name.ok_or_else(|| DataError::at(path, "the name is not UTF-8: rename it"))?;
            names.push(format!("{prefix}{name}"));
        } else if is_hidden(path) {
            left_out.file("hidden");
        } else if !LISTS.iter().any(|list| folder.join(list) == *path) {
            left_out.ending(path);
        }
    }
    Ok(names)
}

/// Files that list the class names.
const LISTS: [&str; 2] = ["classes.txt", "classes.json"];

/// The class names in `classes.txt` or `classes.json`.
fn names(root: &Path) -> Result<Option<Vec<String>>, DataError> {
    let [lines, json] = LISTS.map(|name| root.join(name));
    let (path, names): (_, Vec<String>) = if lines.exists() {
        let text = String::from_utf8(read_file(&lines)?).map_err(|_| DataError::at(&lines, "is not UTF-8 text"))?;
        (lines, text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    } else if json.exists() {
        let parsed = serde_json::from_slice(&read_file(&json)?);
        let names = parsed.map_err(|e| DataError::at(&json, format!("expected an array of class names: {e}")))?;
        (json, names)
    } else {
        return Ok(None);
    };
    let different: BTreeSet<_> = names.iter().collect();
    match names.len() {
        0 => Err(DataError::at(&path, "no class names")),
        n if different.len() < n => Err(DataError::at(&path, "a class name stands there twice")),
        _ => Ok(Some(names)),
    }
}
