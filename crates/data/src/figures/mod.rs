//! Pictures of articulated figures, with the truth about their joints: data for keypoint networks where there is no COCO.
//!
//! A figure is a body of 17 joints in space ([`body`]), dressed ([`clothes`]), projected and painted part by part, the
//! farthest first ([`figure`]). Who owns each pixel is kept, so it is known which joints are hidden. Figures stand before
//! a background, some behind one another or behind things ([`scene`]). Who faces us shows a face, who does not shows the
//! back of the head: that tells left from right.

mod annotations;
mod body;
mod canvas;
mod clothes;
mod figure;
mod scene;
mod space;
#[cfg(test)]
mod tests;
mod write;

use rand::SeedableRng;

pub use write::{FigureOptions, FigurePart, FigureSummary, make_figures};

use crate::image::Image;
use crate::split::Split;

type Random = rand_chacha::ChaCha8Rng;

/// A picture of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct FigurePicture {
    /// RGB, 192 to 320 pixels each way.
    pub image: Image,
    /// The figures, farthest first; at least one but for rare pictures whose only figure lies outside.
    pub persons: Vec<Labelled>,
}

/// The truth about one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// By joint, in COCO's order: place in pixels (the centre of the first pixel is 0, 0) and COCO's v: 0 outside the
    /// picture, 1 hidden, 2 seen. All are 0 where less than a fifth of the figure is seen.
    pub joints: [([f32; 2], u8); 17],
    /// Left, top, width and height of what lies in the picture, hidden parts included.
    pub bbox: [f32; 4],
    /// Pixels of what lies in the picture, hidden parts included.
    pub area: f32,
}

/// Picture `index` of a split ([`Split::All`] counts as training); depends on nothing but the arguments.
pub fn figure_picture(seed: u64, split: Split, index: u64) -> FigurePicture {
    scene::draw(&mut generator(seed, split, index))
}

fn generator(seed: u64, split: Split, index: u64) -> Random {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, u64::from(split == Split::Val), index, 0]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Random::from_seed(key)
}
