//! What the headers of tar files say: where images lie, and of which class they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::super::folder::is_image;
use super::super::{Contents, Images, Labels};
use super::{Place, Shards, names};
use crate::decode::MAX_FILE_BYTES;
use crate::error::{DataError, thousands};

/// A tar file is made of blocks of so many bytes.
const BLOCK: u64 = 512;
/// Longest content of a `.cls` member in bytes.
const MAX_LABEL: u64 = 1024;
/// Most classes: a label beyond is a mistake, not a class.
const MAX_CLASSES: usize = 1 << 20;

/// What has been found so far.
#[derive(Default)]
pub(super) struct Index {
    root: PathBuf,
    files: Vec<String>,
    images: Vec<Place>,
    names: String,
    /// Every different label, where it was first seen and its number in this order.
    texts: BTreeMap<String, (u32, String)>,
    /// For every image the number of its label.
    labels: Vec<u32>,
}

/// Members of one key.
#[derive(Default)]
struct Sample {
    key: String,
    /// Name, offset and size.
    image: Option<(String, u64, u64)>,
    label: Option<u32>,
}

impl Index {
    /// Nothing yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// Number of images so far.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Number of different labels so far.
    pub fn classes(&self) -> usize {
        self.texts.len()
    }

    /// Takes the samples of a tar file.
    pub fn add(&mut self, file: String) -> Result<(), DataError> {
        let path = self.root.join(&file);
        self.walk(&path, &file).map_err(|message| DataError::at(&path, message))?;
        self.files.push(file);
        Ok(())
    }

    fn walk(&mut self, path: &Path, file: &str) -> Result<(), String> {
        let unreadable = |e: io::Error| format!("cannot be read: {e}");
        let mut tar = File::open(path).map_err(unreadable)?;
        let len = tar.metadata().map_err(unreadable)?.len();
        let mut first = Vec::new();
        Read::by_ref(&mut tar).take(2).read_to_end(&mut first).and_then(|_| tar.rewind()).map_err(unreadable)?;
        if first == [0x1f, 0x8b] {
            return Err("is gzipped: unpack it to a plain .tar".to_owned());
        }
        let mut archive = Archive::new(tar);
        // Archives may be joined. Then all that follows the last member is read too, and is nothing but zeros.
        archive.set_ignore_zeros(true);
        let (mut sample, mut end) = (Sample::default(), 0u64);
        for entry in archive.entries_with_seek().map_err(unreadable)? {
            let mut entry = entry.map_err(|e| format!("damaged or no tar file, after byte {end}: {e}"))?;
            let (kind, start, size) = (entry.header().entry_type(), entry.raw_file_position(), entry.size());
            let name = String::from_utf8(entry.path_bytes().into_owned())
                .map_err(|e| format!("the name `{}` is not UTF-8", e.as_bytes().escape_ascii()))?;
            if kind == EntryType::GNUSparse {
                return Err(format!("`{name}` has holes; pack without --sparse"));
            }
            if size > len.saturating_sub(start) {
                let left = len.saturating_sub(start);
                return Err(format!("cut off: `{name}` has {size} bytes, but only {left} follow"));
            }
            end = (start + size).next_multiple_of(BLOCK);
            let Some((key, ending)) = split(&name) else { continue };
            let (is_image, is_label) = (is_image(Path::new(&name)) && !ending.contains('.'), ending == "cls");
            if kind == EntryType::Directory || !(is_image || is_label) {
                continue;
            }
            if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
                return Err(format!("`{name}` is a link or no plain file; pack files themselves"));
            }
            if key != sample.key {
                let next = Sample { key: key.to_owned(), ..Sample::default() };
                self.push(std::mem::replace(&mut sample, next))?;
            }
            if is_label {
                let label = self.number(label(&mut entry, &name)?, format!("{file}/{name}"))?;
                if sample.label.replace(label).is_some() {
                    return Err(format!("`{key}` has two .cls members; expected one"));
                }
            } else if let Some((other, ..)) = &sample.image {
                return Err(format!("`{key}` has two images, `{other}` and `{name}`; expected one"));
            } else {
                sample.image = Some((name, start, size));
            }
        }
        self.push(sample)?;
        if len < end + BLOCK {
            return Err(format!("cut off: no end mark (a block of zeros) at byte {end}"));
        }
        Ok(())
    }

    /// Takes a whole sample of the tar file that comes after `files`.
    fn push(&mut self, sample: Sample) -> Result<(), String> {
        let key = sample.key;
        let ((name, offset, size), label) = match (sample.image, sample.label) {
            (None, None) => return Ok(()),
            (Some((name, ..)), None) => {
                return Err(format!("`{name}` has no class: expected a member `{key}.cls` beside it"));
            }
            (None, Some(_)) => {
                let expected = format!("expected a member `{key}.jpg`, .jpeg, .png or .webp beside it");
                return Err(format!("`{key}.cls` has no image: {expected}"));
            }
            (Some(image), Some(label)) => (image, label),
        };
        if size > MAX_FILE_BYTES {
            let limit = MAX_FILE_BYTES >> 20;
            return Err(format!("`{name}` has {size} bytes, the limit of an image file is {limit} MiB"));
        }
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

    /// Turns texts into classes. The first `known` different texts are those of the training part.
    pub fn contents(self, known: usize, train: Option<usize>) -> Result<Contents, DataError> {
        let number = |text: &str| text.parse::<usize>().ok();
        let training = || self.texts.iter().filter(|(_, (i, _))| (*i as usize) < known).map(|(text, _)| text);
        let list = names(&self.root)?;
        let listed = list.is_some();
        let numbered = listed || self.texts.keys().all(|text| number(text).is_some());
        let classes = match list {
            Some(list) => list,
            None if numbered => numbers(training().filter_map(|text| number(text)).collect())
                .map_err(|message| DataError::at(&self.root, message))?,
            None => training().cloned().collect(),
        };
        let places: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
        let mut class_of = vec![0; self.texts.len()];
        for (text, (i, at)) in &self.texts {
            let by_number = number(text).filter(|class| numbered && *class < classes.len());
            class_of[*i as usize] = by_number.or_else(|| places.get(text.as_str()).copied()).ok_or_else(|| {
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
        Ok(Contents { images: Images::Shards(shards), labels: Labels::Classes { names: classes, of: labels }, train })
    }
}

/// Names of classes that are only numbered: 0, 1, 2, …
fn numbers(used: BTreeSet<usize>) -> Result<Vec<String>, String> {
    let missing = (0..used.len()).find(|class| !used.contains(class));
    if let (Some(missing), Some(most)) = (missing, used.last()) {
        return Err(format!(
            "classes are numbered up to {most}, but no training image is of class {missing}; numbers begin at 0; where \
             it is meant so, list all class names in classes.txt"
        ));
    }
    Ok(used.iter().map(usize::to_string).collect())
}

/// Key and ending of a member: the file's name is cut at its first dot. Hidden files have no key.
fn split(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    (dot > file).then(|| (&name[..dot], &name[dot + 1..]))
}

/// The text of a `.cls` member.
fn label(member: &mut impl Read, name: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    member.take(MAX_LABEL + 1).read_to_end(&mut bytes).map_err(|e| format!("`{name}` cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_LABEL {
        return Err(format!("`{name}` has more than {MAX_LABEL} bytes; expected the number or the name of a class"));
    }
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(format!("`{name}` holds `{}`; expected the number or the name of a class", bytes.escape_ascii()));
    }
    Ok(text.to_owned())
}
