//! Persons with joints: what keypoint networks learn from and are scored on.
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

/// Whether a joint is where a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Not labelled: the position means nothing (COCO's v = 0).
    Missing,
    /// Labelled, but hidden in the picture (v = 1).
    Occluded,
    /// Labelled and to be seen (v = 2).
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
pub struct Joint {
    /// Pixel from the left; (0, 0) is the centre of the top left pixel.
    pub x: f64,
    /// Pixel from above.
    pub y: f64,
    /// Whether it is there.
    pub visibility: Visibility,
}

impl Joint {
    /// Whether the position means something.
    pub fn labelled(&self) -> bool {
        self.visibility != Visibility::Missing
    }
}

/// A labelled person.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// Id of the annotation, unique in its file.
    pub id: u64,
    /// Index of the image among [`People::images`].
    pub image: usize,
    /// Box as the file has it; it may reach out of the image.
    pub bbox: PersonBox,
    /// Area of the person's outline in square pixels, which the score measures distances by.
    pub area: f64,
    /// Whether it stands for a crowd: scoring passes it over.
    pub crowd: bool,
    /// How many joints the file says are labelled.
    pub labelled: usize,
    /// In the order of the skeleton.
    pub joints: Vec<Joint>,
}

/// An image of the annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonImage {
    /// Its id, unique in its file.
    pub id: u64,
    /// Width in pixels, as the file says.
    pub width: usize,
    /// Height in pixels, as the file says.
    pub height: usize,
}

/// Persons of a data set, of its training part first.
#[derive(Debug, Clone, PartialEq)]
pub struct People {
    /// The joints.
    pub skeleton: Skeleton,
    /// Id of the category that they have in the annotations.
    pub category: u64,
    /// Every image, of both parts, in the order of the files.
    pub images: Vec<PersonImage>,
    /// How many of the images, from the first, are of the training part.
    pub train_images: usize,
    /// Persons to learn from and to answer for: with a joint and a box, and no crowd.
    pub persons: Vec<Person>,
    /// The other annotations of the validation part, which scoring needs to know of.
    pub rest: Vec<Person>,
    /// What was left out or read otherwise than it is written, in words.
    pub notes: Vec<String>,
}
