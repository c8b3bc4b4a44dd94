//! A labelled data set and its two parts.

use crate::error::{DataError, thousands};
use crate::image::Image;
use crate::source::{self, Contents, Images};
use crate::split::{Split, stratified};

/// How data that come in one piece are split; without effect where the source has its own split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenOptions {
    /// Share of the images kept for validation, at least 0 and below 1. With 0 nothing is kept.
    pub val_fraction: f32,
    /// Seed of the split.
    pub seed: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { val_fraction: 0.2, seed: 0 }
    }
}

/// A labelled data set. Images of a folder or of tar files are loaded on demand; fixed-size sources are held in memory
/// as bytes.
#[derive(Debug)]
pub struct Dataset {
    contents: Contents,
    /// Training images first, then the validation images: indices into `contents`.
    order: Vec<usize>,
    /// How many of `order` are for training.
    train: usize,
    options: OpenOptions,
}

impl Dataset {
    /// Opens a data set.
    ///
    /// `spec` is the word `digits` for the embedded handwritten digits (write `./digits` for a folder of that name), or
    /// the path of a directory:
    /// - CIFAR-10 (`data_batch_1.bin` …, `test_batch.bin`, `batches.meta.txt`) or CIFAR-100 (`train.bin`, `test.bin`,
    ///   `fine_label_names.txt`) in binary form; test and name files may be missing;
    /// - MNIST and relatives: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, also with a
    ///   dot before `idx`, also gzipped; the `t10k` files may be missing;
    /// - tar files in WebDataset's layout: members `key.jpg` (jpeg, png, webp) and `key.cls` (a number from 0, or the
    ///   name of a class) side by side, others are ignored; in `train/` and one of `val/`, `validation/`, `valid/`,
    ///   `test/`, or side by side with names that begin so, or all for training; names of numbered classes, if wanted,
    ///   in `classes.txt` (one a line) or `classes.json` (an array);
    /// - images (jpg, jpeg, png, webp) in one folder per class, at any depth inside it; directly or below `train/` and
    ///   one of `val/`, `validation/`, `valid/`, `test/`. Names that begin with a dot and other files are ignored.
    ///
    /// Without a part of its own for validation, one is drawn by `options`: seeded, every class in proportion.
    ///
    /// # Errors
    /// One line that names the path, what was found and what was expected.
    pub fn open(spec: &str, options: &OpenOptions) -> Result<Self, DataError> {
        if !(0.0..1.0).contains(&options.val_fraction) {
            let message = format!("{}, expected at least 0 and below 1", options.val_fraction);
            return Err(DataError::new("val_fraction", message));
        }
        let contents = source::open(spec)?;
        if contents.classes.len() < 2 {
            let message = format!("only one class ({:?}), expected at least two", contents.classes);
            return Err(DataError::new(spec, message));
        }
        let (order, train) = match contents.train {
            Some(train) => ((0..contents.labels.len()).collect(), train),
            None => {
                let fraction = options.val_fraction;
                let (mut train, val) = stratified(&contents.labels, contents.classes.len(), fraction, options.seed);
                let count = train.len();
                train.extend(val);
                (train, count)
            }
        };
        Ok(Self { contents, order, train, options: *options })
    }

    /// Names of the classes, in the order of their labels.
    pub fn classes(&self) -> &[String] {
        &self.contents.classes
    }

    /// Number of images.
    pub fn len(&self, split: Split) -> usize {
        self.part(split).len()
    }

    /// Whether a part has no images.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Label and name of image `i` of a part. The name is a path relative to the folder that was opened, or a file and
    /// a position in it: `digits[17]`, `data_batch_1.bin[5]`.
    ///
    /// # Panics
    /// If there are not so many images; also in [`Dataset::label`] and [`Dataset::load`].
    pub fn item(&self, split: Split, i: usize) -> (usize, String) {
        (self.label(split, i), self.contents.images.name(self.part(split)[i]))
    }

    /// Label of image `i` of a part: an index into [`Dataset::classes`].
    pub fn label(&self, split: Split, i: usize) -> usize {
        self.contents.labels[self.part(split)[i]]
    }

    /// Loads and decodes image `i` of a part.
    ///
    /// # Errors
    /// If its file cannot be read or is no image; see [`crate::load`].
    pub fn load(&self, split: Split, i: usize) -> Result<Image, DataError> {
        self.contents.images.load(self.part(split)[i])
    }

    /// Height and width in pixels where all images have the same: digits 8 × 8, MNIST 28 × 28, CIFAR 32 × 32.
    pub fn native_size(&self) -> Option<[usize; 2]> {
        match &self.contents.images {
            Images::Packed(packed) => Some([packed.height, packed.width]),
            Images::Files { .. } | Images::Shards(_) => None,
        }
    }

    /// Channels where all images are known to have the same: digits and MNIST 1, CIFAR 3.
    pub fn native_channels(&self) -> Option<usize> {
        match &self.contents.images {
            Images::Packed(packed) => Some(packed.channels),
            Images::Files { .. } | Images::Shards(_) => None,
        }
    }

    /// Whether the source itself says which images are for validation.
    pub fn has_own_split(&self) -> bool {
        self.contents.train.is_some()
    }

    /// One line for a person: `1,797 images, 10 classes (1,437 train, 360 val, split seed 0)`.
    pub fn describe(&self) -> String {
        let [all, train, val] = [Split::All, Split::Train, Split::Val].map(|split| thousands(self.len(split)));
        let split =
            if self.has_own_split() { "own split".to_owned() } else { format!("split seed {}", self.options.seed) };
        format!("{all} images, {} classes ({train} train, {val} val, {split})", self.classes().len())
    }

    fn part(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.order[..self.train],
            Split::Val => &self.order[self.train..],
            Split::All => &self.order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_describe_themselves() {
        let data = Dataset::open("digits", &OpenOptions::default()).unwrap();
        assert_eq!(data.describe(), "1,797 images, 10 classes (1,437 train, 360 val, split seed 0)");
        assert_eq!((data.native_size(), data.native_channels(), data.has_own_split()), (Some([8, 8]), Some(1), false));
        assert_eq!(data.len(Split::All), data.len(Split::Train) + data.len(Split::Val));
        assert_eq!(data.item(Split::All, 1437), data.item(Split::Val, 0));
        let (label, name) = data.item(Split::Val, 7);
        assert_eq!(label, data.label(Split::Val, 7));
        assert!(name.starts_with("digits["));
    }

    #[test]
    fn the_seed_of_the_split_decides() {
        let names = |seed| {
            let data = Dataset::open("digits", &OpenOptions { seed, ..OpenOptions::default() }).unwrap();
            (0..data.len(Split::Val)).map(|i| data.item(Split::Val, i).1).collect::<Vec<_>>()
        };
        assert_eq!(names(0), names(0));
        assert_ne!(names(0), names(1));
    }

    #[test]
    fn nothing_may_be_kept_for_validation() {
        let data = Dataset::open("digits", &OpenOptions { val_fraction: 0.0, seed: 0 }).unwrap();
        assert!(data.is_empty(Split::Val));
        assert_eq!(data.len(Split::Train), 1797);
    }

    #[test]
    fn what_cannot_be_opened_is_told() {
        let open = |spec: &str, val_fraction| {
            Dataset::open(spec, &OpenOptions { val_fraction, seed: 0 }).unwrap_err().to_string()
        };
        assert_eq!(
            open("no/such/place", 0.2),
            "no/such/place: no such file or directory; expected `digits` or a directory of images, tar shards, CIFAR \
             or MNIST files"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(open(file.path().to_str().unwrap(), 0.2).contains(": is a file, expected a directory"));
        assert_eq!(open("digits", 1.0), "val_fraction: 1, expected at least 0 and below 1");
        assert_eq!(open("digits", f32::NAN), "val_fraction: NaN, expected at least 0 and below 1");
    }
}
