//! Persons with joints: the training and evaluation data of keypoint networks.
//!
//! A person stands for anything that has joints: hands, faces and animals too.

mod box_file;
mod boxes;
mod coco;
mod json;
mod number;
mod open;
mod score;
mod size;
mod skeleton;
#[cfg(test)]
pub(crate) mod tests;
mod told;

use dyconv_task::Skeleton;

use crate::crop::PersonBox;

pub use box_file::BoxFile;
pub use boxes::{DetectedBox, DetectedBoxes};
pub(crate) use open::{file, folder, is_here};
pub use score::KeypointMeter;

/// Whether a joint is labelled and visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Not labelled: the position is meaningless (COCO's v = 0).
    Missing,
    /// Labelled, but hidden in the picture (v = 1).
    Occluded,
    /// Labelled and visible (v = 2).
    Visible,
}

impl Visibility {
    /// COCO's v.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The label of a joint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keypoint {
    /// Pixels from the left; (0, 0) is the centre of the top left pixel.
    pub x: f64,
    /// Pixels from the top.
    pub y: f64,
    /// Whether it is labelled and visible.
    pub visibility: Visibility,
}

impl Keypoint {
    /// Whether the position is meaningful.
    pub fn labelled(&self) -> bool {
        self.visibility != Visibility::Missing
    }
}

/// A labelled person.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// Id of the annotation, unique in its file.
    pub id: u64,
    /// Index of the image in [`People::images`].
    pub image: usize,
    /// The box as given in the file; it may extend beyond the image.
    pub bbox: PersonBox,
    /// Area of the person's outline in square pixels, which scales distances in OKS.
    pub area: f64,
    /// Whether it represents a crowd, which scoring ignores.
    pub crowd: bool,
    /// Number of labelled joints according to the file.
    pub labelled: usize,
    /// In the order of the skeleton.
    pub joints: Vec<Keypoint>,
}

/// An annotated image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonImage {
    /// Its id, unique in its file.
    pub id: u64,
    /// Width in pixels, according to the file.
    pub width: usize,
    /// Height in pixels, according to the file.
    pub height: usize,
}

/// The persons of a data set, those of the training part first.
#[derive(Debug, Clone, PartialEq)]
pub struct People {
    /// The joints.
    pub skeleton: Skeleton,
    /// Id of their category in the annotations.
    pub category: u64,
    /// The images of both parts, in file order.
    pub images: Vec<PersonImage>,
    /// Number of images of the training part, which come first.
    pub train_images: usize,
    /// Persons for training and evaluation: with a joint and a box, and not crowds.
    pub persons: Vec<Person>,
    /// The other annotations of the validation part, which scoring needs.
    pub rest: Vec<Person>,
    /// Messages about what was ignored or interpreted.
    pub notes: Vec<String>,
}
