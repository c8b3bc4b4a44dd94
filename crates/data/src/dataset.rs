//! A labelled data set and its parts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use dyconv_task::Skeleton;

use crate::error::DataError;
use crate::image::Image;
use crate::limits::DecodeOptions;
use crate::people::{self, People, Person};
use crate::source::{self, Contents, Images, Labels};
use crate::split::{Split, drawn};
use crate::words::{listed, thousands};

/// How data without parts are split; has no effect if the source has its own split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenOptions {
    /// Approximate fraction of the images held out for validation; the name of each image decides. At least 0 and below
    /// 1; 0 holds out none.
    pub val_fraction: f32,
    /// Seed of the split.
    pub seed: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { val_fraction: 0.2, seed: 0 }
    }
}

/// A labelled data set whose items are images with a class or persons with joints. Images in folders or tar files are
/// loaded on demand; sources of fixed-size images are held in memory as bytes.
#[derive(Debug)]
pub struct Dataset {
    contents: Contents,
    /// Training items first, then validation items, then test items: indices into `contents`.
    order: Vec<usize>,
    /// Number of training items in `order`.
    train: usize,
    /// Ranges of the validation and the test items in `order`; both are the same if a source has only a test part.
    val: Range<usize>,
    test: Range<usize>,
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
    ///   dot before `idx`, also gzipped; the `t10k` files may be missing; EMNIST:
    ///   `emnist-letters-train-images-idx3-ubyte` …, whose images are stored transposed and are transposed back;
    /// - tar files in WebDataset's layout: members `key.jpg` (or another image extension) and `key.cls` (a zero-based
    ///   number or the name of a class), other members are ignored; in folders named after their part, or side by side
    ///   with the name of the part as a word in the file name (`imagenet1k-train-0000.tar`); names of numbered classes,
    ///   optionally, in `classes.txt` (one per line) or `classes.json` (an array);
    /// - images (jpg, jpeg, jfif, jpe, png, webp, bmp, gif, tif, tiff) in one folder per class, at any depth inside it;
    ///   directly or below folders named after their part;
    /// - COCO keypoints: `annotations/person_keypoints_train2017.json`, the same for `val2017`, and the images in
    ///   `train2017/` and `val2017/`; the items are persons. See [`Dataset::open_people`] for joints that are not COCO's.
    ///
    /// Parts are named `train` or `training`; `val`, `valid`, `validation` or `dev`; `test` or `testing`, in any case.
    /// If there is a test part and no validation part, it serves as both. Without either, validation images are
    /// selected by their names: see [`OpenOptions`]. [`Dataset::left_out_note`] reports what was ignored.
    ///
    /// # Errors
    /// One line with the path, what was found and what was expected.
    pub fn open(spec: &str, options: &OpenOptions) -> Result<Self, DataError> {
        if !(0.0..1.0).contains(&options.val_fraction) {
            let message = format!("{}, expected at least 0 and below 1", options.val_fraction);
            return Err(DataError::new("val_fraction", message));
        }
        Ok(Self::new(source::open(spec)?, options))
    }

    /// Checks that a network can be trained on these data, which `spec` names: there must be training images of at
    /// least two classes.
    ///
    /// # Errors
    /// If something is missing; the error names it.
    pub fn check_training(&self, spec: &str) -> Result<(), DataError> {
        if let Labels::Classes { names, .. } = &self.contents.labels
            && names.len() < 2
        {
            let message = format!("only one class ({}), expected at least two", listed(names));
            return Err(DataError::new(spec, message));
        }
        if self.is_empty(Split::Train) {
            return Err(DataError::new(spec, format!("no part for training: {}", self.describe())));
        }
        Ok(())
    }

    /// Whether `spec` names COCO keypoints in the layout that [`Dataset::open`] recognises.
    pub fn is_people(spec: &str) -> bool {
        people::is_here(Path::new(spec))
    }

    /// Opens folders of COCO keypoints with the joints of `skeleton`; without one the joints must be COCO's.
    ///
    /// # Errors
    /// One line with the file and the record, what was found and what was expected.
    pub fn open_people(root: &Path, skeleton: Option<&Skeleton>) -> Result<Self, DataError> {
        people::folder(root, skeleton).map(|contents| Self::new(contents, &OpenOptions::default()))
    }

    /// Opens one file of COCO keypoint annotations and the folder of its images; all persons are in the validation
    /// part.
    ///
    /// # Errors
    /// As [`Dataset::open_people`].
    pub fn open_annotations(file: &Path, images: &Path, skeleton: Option<&Skeleton>) -> Result<Self, DataError> {
        people::file(file, images, skeleton).map(|contents| Self::new(contents, &OpenOptions::default()))
    }

    fn new(mut contents: Contents, options: &OpenOptions) -> Self {
        let count = match &contents.labels {
            Labels::Classes { of, .. } => of.len(),
            Labels::People(people) => people.persons.len(),
        };
        let (mut order, mut train): (Vec<usize>, usize) = ((0..count).collect(), 0);
        let (mut val, mut test) = (0..count, count..count);
        match (&contents.labels, contents.split) {
            (_, Some(own)) => {
                train = own.train;
                test = own.train + own.val..count;
                val = if own.val > 0 { own.train..own.train + own.val } else { test.clone() };
            }
            (Labels::Classes { names, of }, None) => {
                let name = |i| contents.images.name(i);
                let (chosen, held_out) = drawn(of, names.len(), name, options.val_fraction, options.seed);
                train = chosen.len();
                val = train..count;
                order = chosen;
                order.extend(held_out);
            }
            (Labels::People(_), None) => {}
        }
        if let Labels::Classes { names, of } = &contents.labels {
            let mut has = vec![false; names.len()];
            order[..train].iter().for_each(|i| has[of[*i]] = true);
            let without = names.iter().zip(&has).filter(|(_, has)| !**has).map(|(name, _)| name);
            let without: Vec<&String> = if train > 0 { without.collect() } else { Vec::new() };
            if !without.is_empty() {
                let (n, all) = (thousands(without.len()), thousands(names.len()));
                contents.left_out.note(format!("no training images of {n} of {all} classes: {}", listed(&without)));
            }
        }
        Self { contents, order, train, val, test, options: *options }
    }

    /// Checks that a part has items; `spec` is the name of the data set in the error.
    ///
    /// # Errors
    /// If it has none; the error lists the parts that exist.
    pub fn check_part(&self, spec: &str, split: Split) -> Result<(), DataError> {
        if !self.is_empty(split) {
            return Ok(());
        }
        Err(DataError::new(spec, format!("nothing in the part `{split}`: {}", self.describe())))
    }

    /// Names of the classes, in the order of their labels; empty if the items are persons.
    pub fn classes(&self) -> &[String] {
        match &self.contents.labels {
            Labels::Classes { names, .. } => names,
            Labels::People(_) => &[],
        }
    }

    /// The persons, if the items are persons.
    pub fn people(&self) -> Option<&People> {
        match &self.contents.labels {
            Labels::Classes { .. } => None,
            Labels::People(people) => Some(people),
        }
    }

    /// Person `i` of a part, if the items are persons.
    ///
    /// # Panics
    /// If `i` is out of range.
    pub fn person(&self, split: Split, i: usize) -> Option<&Person> {
        self.people().map(|people| &people.persons[self.part(split)[i]])
    }

    /// Number of items: images, or persons.
    pub fn len(&self, split: Split) -> usize {
        self.part(split).len()
    }

    /// Whether a part has no items.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// Label and name of item `i` of a part. The name is a path relative to the folder that was opened, or a file and a
    /// position in it: `digits[17]`, `data_batch_1.bin[5]`; for a person the image and the id of the annotation:
    /// `val2017/1.jpg#42`.
    ///
    /// # Panics
    /// If `i` is out of range; the same applies to [`Dataset::label`] and [`Dataset::load`].
    pub fn item(&self, split: Split, i: usize) -> (usize, String) {
        let image = self.contents.images.name(self.image(split, i));
        let name = self.person(split, i).map_or_else(|| image.clone(), |person| format!("{image}#{}", person.id));
        (self.label(split, i), name)
    }

    /// Label of item `i` of a part: an index into [`Dataset::classes`]; 0 for persons.
    pub fn label(&self, split: Split, i: usize) -> usize {
        match &self.contents.labels {
            Labels::Classes { of, .. } => of[self.part(split)[i]],
            Labels::People(_) => 0,
        }
    }

    /// Loads and decodes the image of item `i` of a part. Fixed-size images are not affected by the options.
    ///
    /// # Errors
    /// If its file cannot be read or is not an image; see [`crate::load`].
    pub fn load(&self, split: Split, i: usize, options: &DecodeOptions) -> Result<Image, DataError> {
        self.load_image(self.image(split, i), options)
    }

    /// CRC-32 of the content of item `i` of a part: the bytes of its file or tar member, or its pixels.
    pub(crate) fn checksum(&self, split: Split, i: usize) -> Result<u32, DataError> {
        self.contents.images.checksum(self.image(split, i))
    }

    /// Loads and decodes an image by its index among all images; if the items are persons, its index in
    /// [`People::images`].
    ///
    /// # Errors
    /// As [`Dataset::load`]; for persons, also if the size of the image differs from the annotations.
    ///
    /// # Panics
    /// If `image` is out of range.
    pub fn load_image(&self, image: usize, options: &DecodeOptions) -> Result<Image, DataError> {
        let loaded = self.contents.images.load(image, options)?;
        if let Some(people) = self.people() {
            let wrong = |message| DataError::new(self.image_name(image), message);
            people.check_size(image, &loaded, options.orientation).map_err(wrong)?;
        }
        Ok(loaded)
    }

    /// Name of an image by its index among all images: see [`Dataset::load_image`].
    ///
    /// # Panics
    /// If `image` is out of range.
    pub fn image_name(&self, image: usize) -> String {
        self.contents.images.name(image)
    }

    /// Index of the image of item `i` of a part, among all images.
    fn image(&self, split: Split, i: usize) -> usize {
        let item = self.part(split)[i];
        self.people().map_or(item, |people| people.persons[item].image)
    }

    /// Height and width in pixels if all images have the same size: digits 8 × 8, MNIST 28 × 28, CIFAR 32 × 32.
    pub fn native_size(&self) -> Option<[usize; 2]> {
        match &self.contents.images {
            Images::Packed(packed) => Some([packed.height, packed.width]),
            Images::Files { .. } | Images::Shards(_) => None,
        }
    }

    /// Number of channels if it is known to be the same for all images: digits and MNIST 1, CIFAR 3.
    pub fn native_channels(&self) -> Option<usize> {
        match &self.contents.images {
            Images::Packed(packed) => Some(packed.channels),
            Images::Files { .. } | Images::Shards(_) => None,
        }
    }

    /// Whether the source defines which images are for validation.
    pub fn has_own_split(&self) -> bool {
        self.contents.split.is_some()
    }

    /// Number of ignored files by reason. A reason is a file extension, such as `heic`, or words that follow a number,
    /// such as `without a label`.
    pub fn left_out(&self) -> &BTreeMap<String, usize> {
        self.contents.left_out.counts()
    }

    /// One line for the user about what was ignored, folders included: `12 files left out: 4 heic, 4 txt, 4 without a
    /// label; 1 folder left out: runs (holds runs)`. `None` if nothing was ignored.
    pub fn left_out_note(&self) -> Option<String> {
        self.contents.left_out.sentence()
    }

    /// One line for the user: `1,797 images, 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 (1,432 train, 365 val, split seed
    /// 0)`, or `1,200 persons in 1,000 images, 17 joints (1,000 train, 200 val, own split)`. If there are many classes,
    /// only the first are named.
    pub fn describe(&self) -> String {
        let [all, train, val, test] =
            [Split::All, Split::Train, Split::Val, Split::Test].map(|split| thousands(self.len(split)));
        let split =
            if self.has_own_split() { "own split".to_owned() } else { format!("split seed {}", self.options.seed) };
        let held_out = if self.test.is_empty() {
            format!("{val} val")
        } else if self.test == self.val {
            format!("{test} test, also used as val")
        } else {
            format!("{val} val, {test} test")
        };
        let what = match &self.contents.labels {
            Labels::Classes { names, .. } => {
                let noun = if names.len() == 1 { "class" } else { "classes" };
                format!("images, {} {noun}: {}", thousands(names.len()), listed(names))
            }
            Labels::People(people) => {
                format!("persons in {} images, {} joints", thousands(people.images.len()), people.skeleton.joints.len())
            }
        };
        format!("{all} {what} ({train} train, {held_out}, {split})")
    }

    fn part(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.order[..self.train],
            Split::Val => &self.order[self.val.clone()],
            Split::Test => &self.order[self.test.clone()],
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
        let classes = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9";
        assert_eq!(
            data.describe(),
            format!("1,797 images, 10 classes: {classes} (1,432 train, 365 val, split seed 0)")
        );
        assert_eq!((data.native_size(), data.native_channels(), data.has_own_split()), (Some([8, 8]), Some(1), false));
        assert_eq!(data.len(Split::All), data.len(Split::Train) + data.len(Split::Val));
        assert_eq!(data.item(Split::All, 1432), data.item(Split::Val, 0));
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
            "no/such/place: no such file or directory; expected `digits` or a directory of images, tar shards, \
             CIFAR, MNIST or COCO keypoints files"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(open(file.path().to_str().unwrap(), 0.2).contains(": is a file, expected a directory"));
        std::fs::write(file.path(), b"PK\x03\x04").unwrap();
        assert!(
            open(file.path().to_str().unwrap(), 0.2).ends_with(": is a zip archive: unpack it and name the folder")
        );
        assert_eq!(open("digits", 1.0), "val_fraction: 1, expected at least 0 and below 1");
        assert_eq!(open("digits", f32::NAN), "val_fraction: NaN, expected at least 0 and below 1");
    }
}
