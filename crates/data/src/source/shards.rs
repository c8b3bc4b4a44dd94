//! Tar files in WebDataset's layout: `key.jpg` and `key.cls` side by side; directly, or below `train/` and `val/`.
//!
//! Headers are walked once and data passed over. What stays in memory is where each image lies: 24 bytes, its name and
//! its label. Pixels are read when asked for, each from its place.

mod index;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::folder::VALIDATION;
use super::{Contents, read_file};
use crate::decode;
use crate::error::DataError;
use crate::image::Image;
use crate::regular;
use index::Index;

/// Images inside tar files.
#[derive(Debug)]
pub(crate) struct Shards {
    root: PathBuf,
    /// Paths of the tar files below the root, with `/` between the parts.
    files: Vec<String>,
    images: Vec<Place>,
    /// The names of all images, one behind the other.
    names: String,
}

/// Where an image lies.
#[derive(Debug)]
struct Place {
    offset: u64,
    /// Where its name ends in `names`; it begins where the one before ends.
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

    pub fn load(&self, index: usize) -> Result<Image, DataError> {
        let (name, bytes) = self.bytes(index)?;
        decode::decode(&bytes, &name)
    }

    /// Whole path and bytes of an image.
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

/// Whether there are tar files here or in `train/`.
pub(super) fn is_here(root: &Path) -> bool {
    [root.to_owned(), root.join("train")].iter().any(|folder| tars(folder).is_ok_and(|found| !found.is_empty()))
}

/// Names of the tar files in a folder, sorted.
fn tars(folder: &Path) -> Result<Vec<String>, DataError> {
    let unreadable = |e: io::Error| DataError::at(folder, format!("cannot be read: {e}"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tar")) && path.is_file() {
            let name = path.file_name().and_then(|name| name.to_str());
            names.push(name.ok_or_else(|| DataError::at(&path, "the name is not UTF-8: rename it"))?.to_owned());
        }
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    Ok(names)
}

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let (train, val) = parts(root)?;
    let mut index = Index::new(root);
    for file in train {
        index.add(file)?;
    }
    let images = index.images();
    if images == 0 {
        return Err(DataError::at(root, "no images in the tar files: expected members `key.jpg` and `key.cls`"));
    }
    let classes = index.classes();
    let own_split = !val.is_empty();
    for file in val {
        index.add(file)?;
    }
    if own_split && index.images() == images {
        return Err(DataError::at(root, "no images in the tar files for validation"));
    }
    index.contents(classes, own_split.then_some(images))
}

/// The tar files for training and for validation; none for validation where the names do not say.
fn parts(root: &Path) -> Result<(Vec<String>, Vec<String>), DataError> {
    let here = tars(root)?;
    if here.is_empty() {
        let below = |part: &str| Ok(tars(&root.join(part))?.iter().map(|name| format!("{part}/{name}")).collect());
        let val = VALIDATION.into_iter().find(|name| root.join(name).is_dir());
        return Ok((below("train")?, val.map_or(Ok(Vec::new()), below)?));
    }
    let begins = |word: &str| here.iter().filter(|name| name.starts_with(word)).cloned().collect::<Vec<_>>();
    let train = begins("train");
    let Some(val) = VALIDATION.into_iter().map(begins).find(|found| !found.is_empty()).filter(|_| !train.is_empty())
    else {
        return Ok((here, Vec::new()));
    };
    let known = |name: &&String| name.starts_with("train") || VALIDATION.iter().any(|word| name.starts_with(word));
    match here.iter().find(|name| !known(name)) {
        None => Ok((train, val)),
        Some(other) => {
            Err(DataError::at(&root.join(other), "expected a name that begins with train or val, as others do"))
        }
    }
}

/// The class names of `classes.txt` or `classes.json`.
fn names(root: &Path) -> Result<Option<Vec<String>>, DataError> {
    let [lines, json] = ["classes.txt", "classes.json"].map(|name| root.join(name));
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
