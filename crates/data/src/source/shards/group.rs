//! Matches labels with pictures.
//!
//! WebDataset cuts a member's name at its first dot: the part before it is the key of a sample. But names of pictures
//! may contain dots, too: `img.1.jpg` and `img.1.cls`, `img.2.jpg` and `img.2.cls` all have one key. So within a key a
//! picture belongs to the label that has the same name except for the last extension. A label named like the key
//! belongs to the only picture of the key (`0001.rgb.jpg` and `0001.cls`), and pictures beside a labelled one are other
//! data of that sample (`0001.seg.png`).

use std::collections::HashMap;

/// A picture inside a tar file.
pub(super) struct Picture {
    pub name: String,
    pub offset: u64,
    pub size: u64,
}

/// A label: name of its member, and text.
pub(super) struct Label {
    pub name: String,
    pub text: String,
}

/// Consecutive members with one key.
#[derive(Default)]
pub(super) struct Group {
    pub key: String,
    pub pictures: Vec<Picture>,
    pub labels: Vec<Label>,
}

/// The result of matching a group or a tar file.
#[derive(Default)]
pub(super) struct Paired {
    pub samples: Vec<(Picture, Label)>,
    /// Pictures of labelled samples that are not the sample's image.
    pub others: Vec<Picture>,
    pub pictures: Vec<Picture>,
    pub labels: Vec<Label>,
}

/// A name without its last extension.
pub(super) fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

impl Group {
    /// Finds the label of every picture.
    pub fn pair(self) -> Result<Paired, String> {
        let Self { key, pictures, labels } = self;
        let mut paired = Paired::default();
        let mut by_stem = HashMap::with_capacity(labels.len());
        for label in labels {
            let stem = stem(&label.name).to_owned();
            if by_stem.insert(stem.clone(), label).is_some() {
                return Err(format!("`{stem}` has two .cls members; expected one"));
            }
        }
        let mut names: HashMap<String, String> = HashMap::with_capacity(pictures.len());
        for picture in pictures {
            let stem = stem(&picture.name);
            if let Some(other) = names.insert(stem.to_owned(), picture.name.clone()) {
                return Err(format!("`{stem}` has two images, `{other}` and `{}`; expected one", picture.name));
            }
            match by_stem.remove(stem) {
                Some(label) => paired.samples.push((picture, label)),
                None => paired.pictures.push(picture),
            }
        }
        if let Some(label) = by_stem.remove(&key) {
            match &paired.pictures[..] {
                [] => drop(by_stem.insert(key, label)),
                [_] => paired.samples.extend(paired.pictures.pop().map(|picture| (picture, label))),
                [first, second, ..] => {
                    let (first, second) = (&first.name, &second.name);
                    return Err(format!("`{key}` has two images, `{first}` and `{second}`; expected one"));
                }
            }
        } else if paired.samples.iter().any(|(picture, _)| stem(&picture.name) == key) {
            paired.others = std::mem::take(&mut paired.pictures);
        }
        paired.labels = by_stem.into_values().collect();
        paired.labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(paired)
    }
}

/// Pictures and labels that were not consecutive.
#[derive(Default)]
pub(super) struct Loose {
    pictures: HashMap<String, Picture>,
    labels: HashMap<String, Label>,
}

impl Loose {
    /// Adds a picture, or returns it with its label, if that is known.
    pub fn picture(&mut self, picture: Picture) -> Option<(Picture, Label)> {
        let key = stem(&picture.name).to_owned();
        match self.labels.remove(&key) {
            Some(label) => Some((picture, label)),
            None => {
                self.pictures.insert(key, picture);
                None
            }
        }
    }

    /// Adds a label, or returns it with its picture, if that is known.
    pub fn label(&mut self, label: Label) -> Option<(Picture, Label)> {
        let key = stem(&label.name).to_owned();
        match self.pictures.remove(&key) {
            Some(picture) => Some((picture, label)),
            None => {
                self.labels.insert(key, label);
                None
            }
        }
    }

    /// Number of pictures without a label, and of labels without a picture.
    pub fn counts(&self) -> [usize; 2] {
        [self.pictures.len(), self.labels.len()]
    }

    /// Describes what is missing for the first picture or label without a counterpart.
    pub fn first(&self) -> Option<String> {
        if let Some(picture) = self.pictures.values().min_by_key(|picture| picture.offset) {
            let name = &picture.name;
            return Some(format!("`{name}` has no class: expected a member `{}.cls` beside it", stem(name)));
        }
        let name = self.labels.values().map(|label| &label.name).min()?;
        Some(format!("`{name}` has no image: expected a member `{}.jpg` or another image beside it", stem(name)))
    }
}
