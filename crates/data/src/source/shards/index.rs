//! Indexes tar files from their headers: positions and classes of the images.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::super::magic::packed;
use super::super::{Contents, Images, Labels, LeftOut, OwnSplit};
use super::group::{Group, Label, Loose, Picture};
use super::segment::{BLOCK, Segment, next_block};
use super::{Place, Shards, names};
use crate::decode::MAX_FILE_BYTES;
use crate::error::DataError;
use crate::extensions::is_image;
use crate::regular;
use crate::words::{shown, thousands};

/// Longest content of a `.cls` member in bytes.
const MAX_LABEL: u64 = 1024;
/// Largest number of classes: a larger label is a mistake, not a class.
const MAX_CLASSES: usize = 1 << 20;

/// The index so far.
#[derive(Default)]
pub(super) struct Index {
    root: PathBuf,
    files: Vec<String>,
    images: Vec<Place>,
    names: String,
    /// Every different label, with its number in order of appearance and where it was first seen.
    texts: BTreeMap<String, (u32, String)>,
    /// The number of the label of every image.
    labels: Vec<u32>,
    left_out: LeftOut,
}

impl Index {
    /// An empty index, except for what was ignored already.
    pub fn new(root: &Path, left_out: LeftOut) -> Self {
        Self { root: root.to_owned(), left_out, ..Self::default() }
    }

    /// Number of images so far.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Number of different labels so far.
    pub fn classes(&self) -> usize {
        self.texts.len()
    }

    /// Adds the samples of a tar file.
    pub fn add(&mut self, file: String) -> Result<(), DataError> {
        let path = self.root.join(&file);
        self.walk(&path, &file).map_err(|message| DataError::at(&path, message))?;
        self.files.push(file);
        Ok(())
    }

    fn walk(&mut self, path: &Path, file: &str) -> Result<(), String> {
        let unreadable = |e: io::Error| format!("cannot be read: {e}");
        let tar = regular::open(path).map_err(|e| e.message)?;
        let len = tar.metadata().map_err(unreadable)?.len();
        let mut first = Vec::new();
        (&tar).take(BLOCK).read_to_end(&mut first).map_err(unreadable)?;
        // A tar file begins with the name of its first member, which may look like anything.
        let is_tar = first.get(257..262) == Some(b"ustar");
        if let Some(kind) = packed(&first).filter(|_| !is_tar) {
            return Err(format!("is packed with {kind}: unpack it to a plain .tar"));
        }
        let mut shard = Shard { file, before: self.images.len(), group: Group::default(), loose: Loose::default() };
        let (mut from, mut end) = (0, 0);
        while let Some(start) = next_block(&tar, from).map_err(unreadable)? {
            let segment = Segment::at(&tar, start).map_err(unreadable)?;
            end = self.segment(segment, start, len, &mut shard)?;
            from = end.max(start + BLOCK);
        }
        self.close(&mut shard)?;
        let [pictures, labels] = shard.loose.counts();
        if self.images.len() == shard.before
            && let Some(message) = shard.loose.first()
        {
            return Err(message);
        }
        self.left_out.files("without a label", pictures);
        self.left_out.files("labels without an image", labels);
        if len < end + BLOCK {
            return Err(format!("cut off: no end mark (a block of zeros) at byte {end}"));
        }
        Ok(())
    }

    /// Reads the members up to the next block of zeros; returns the end of the last one.
    fn segment(&mut self, segment: Segment, base: u64, len: u64, shard: &mut Shard) -> Result<u64, String> {
        let mut end = base;
        let mut archive = Archive::new(segment);
        for entry in archive.entries_with_seek().map_err(|e| format!("cannot be read: {e}"))? {
            let mut entry = entry.map_err(|e| format!("damaged or no tar file, after byte {end}: {e}"))?;
            let (kind, start, size) = (entry.header().entry_type(), base + entry.raw_file_position(), entry.size());
            let name = String::from_utf8(entry.path_bytes().into_owned());
            if kind == EntryType::GNUSparse {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(format!("`{}` has holes; pack without --sparse", shown(&name, 200)));
            }
            if size > len.saturating_sub(start) {
                let (left, name) =
                    (len.saturating_sub(start), String::from_utf8_lossy(&entry.path_bytes()).into_owned());
                return Err(format!("cut off: `{}` has {size} bytes, but only {left} follow", shown(&name, 200)));
            }
            end = (start + size).next_multiple_of(BLOCK);
            if kind == EntryType::Directory || kind == EntryType::XGlobalHeader {
                continue;
            }
            let Ok(name) = name else {
                self.left_out.file("with a name that is not UTF-8");
                continue;
            };
            let Some(key) = key(&name) else {
                self.left_out.file("hidden");
                continue;
            };
            let is_label = name.len() > 4
                && name.is_char_boundary(name.len() - 4)
                && name[name.len() - 4..].eq_ignore_ascii_case(".cls");
            if !is_label && !is_image(Path::new(&name)) {
                self.left_out.ending(Path::new(&name));
                continue;
            }
            if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
                self.left_out.file("links or no plain files");
                continue;
            }
            if key != shard.group.key {
                self.close(shard)?;
                shard.group.key = key.to_owned();
            }
            if is_label {
                let text = label(&mut entry, &name)?;
                shard.group.labels.push(Label { name, text });
            } else {
                shard.group.pictures.push(Picture { name, offset: start, size });
            }
        }
        Ok(end)
    }

    /// Adds the samples of the completed key.
    fn close(&mut self, shard: &mut Shard) -> Result<(), String> {
        let paired = std::mem::take(&mut shard.group).pair()?;
        paired.others.iter().for_each(|other| self.left_out.ending(Path::new(&other.name)));
        for (picture, label) in paired.samples {
            self.push(picture, label, shard.file)?;
        }
        for picture in paired.pictures {
            if let Some((picture, label)) = shard.loose.picture(picture) {
                self.push(picture, label, shard.file)?;
            }
        }
        for label in paired.labels {
            if let Some((picture, label)) = shard.loose.label(label) {
                self.push(picture, label, shard.file)?;
            }
        }
        Ok(())
    }

    /// Adds a complete sample of the tar file that comes after `files`.
    fn push(&mut self, picture: Picture, label: Label, file: &str) -> Result<(), String> {
        let Picture { name, offset, size } = picture;
        if size > MAX_FILE_BYTES {
            let limit = MAX_FILE_BYTES >> 20;
            return Err(format!("`{name}` has {size} bytes, the limit of an image file is {limit} MiB"));
        }
        let label = self.number(label.text, format!("{file}/{}", label.name))?;
        let shard = u32::try_from(self.files.len()).map_err(|_| "too many tar files")?;
        self.names.push_str(&name);
        self.images.push(Place { offset, name_end: self.names.len() as u64, size: size as u32, shard });
        self.labels.push(label);
        Ok(())
    }

    /// The number of a label.
    fn number(&mut self, text: String, at: String) -> Result<u32, String> {
        let next = self.texts.len();
        if next >= MAX_CLASSES && !self.texts.contains_key(&text) {
            return Err(format!("more than {} different classes", thousands(MAX_CLASSES)));
        }
        Ok(self.texts.entry(text).or_insert((next as u32, at)).0)
    }

    /// Converts labels into classes. The first `known` different labels are those of the training part.
    pub fn contents(self, known: usize, split: Option<OwnSplit>) -> Result<Contents, DataError> {
        let number = |text: &str| text.parse::<usize>().ok();
        let training = || self.texts.iter().filter(|(_, (i, _))| (*i as usize) < known).map(|(text, _)| text);
        let list = names(&self.root)?;
        let listed = list.is_some();
        let numbered = listed || self.texts.keys().all(|text| number(text).is_some());
        let mut first = 0;
        let classes = match list {
            Some(list) => list,
            None if numbered => {
                let used = training().filter_map(|text| number(text)).collect();
                let numbers = numbers(used).map_err(|message| DataError::at(&self.root, message))?;
                first = *numbers.start();
                numbers.map(|class| class.to_string()).collect()
            }
            None => training().cloned().collect(),
        };
        let places: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let mut class_of = vec![0; self.texts.len()];
        for (text, (i, at)) in &self.texts {
            let by_number = number(text).filter(|_| numbered).and_then(|class| class.checked_sub(first));
            let by_number = by_number.filter(|class| *class < classes.len());
            class_of[*i as usize] = by_number.or_else(|| places.get(text.as_str()).copied()).ok_or_else(|| {
                let text = shown(text, 60);
                let message = if listed {
                    format!("class `{text}`, expected 0 to {} or a name of the list", classes.len() - 1)
                } else {
                    format!("class `{text}` is not in the training shards")
                };
                DataError::at(&self.root.join(at), message)
            })?;
        }
        let labels = self.labels.iter().map(|label| class_of[*label as usize]).collect();
        let shards = Shards { root: self.root, files: self.files, images: self.images, names: self.names };
        let labels = Labels::Classes { names: classes, of: labels };
        Ok(Contents { images: Images::Shards(shards), labels, split, left_out: self.left_out })
    }
}

/// A tar file that is being read.
struct Shard<'a> {
    file: &'a str,
    /// Number of images before it.
    before: usize,
    group: Group,
    loose: Loose,
}

/// The range of numeric class labels: from 0 or, if there is no 0, from 1.
fn numbers(used: BTreeSet<usize>) -> Result<RangeInclusive<usize>, String> {
    let (first, most) = (used.first().copied().unwrap_or(0).min(1), used.last().copied().unwrap_or(0));
    match (first..=most).find(|class| !used.contains(class)) {
        None => Ok(first..=most),
        Some(missing) => Err(format!(
            "classes are numbered up to {most}, but no training image is of class {missing}; numbers begin at 0 or 1; where \
             it is meant so, list all class names in classes.txt"
        )),
    }
}

/// Key of a member by WebDataset's rule: its path up to the first dot of the file name. Hidden files have none.
fn key(name: &str) -> Option<&str> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[file..].find('.') {
        Some(0) => None,
        Some(dot) => Some(&name[..file + dot]),
        None => Some(name),
    }
}

/// The text of a `.cls` member.
fn label(member: &mut impl Read, name: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    member.take(MAX_LABEL + 1).read_to_end(&mut bytes).map_err(|e| format!("`{name}` cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_LABEL {
        return Err(format!("`{name}` has more than {MAX_LABEL} bytes; expected the number or the name of a class"));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_start_matches('\u{feff}').trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(format!("`{name}` holds `{}`; expected the number or the name of a class", bytes.escape_ascii()));
    }
    Ok(text.to_owned())
}
