//! Pictures of articulated figures with exact keypoint labels: data for keypoint networks where COCO is not at hand.
//!
//! A figure is a body of 17 joints in space (`body`), dressed (`clothes`), projected and painted part by part, the
//! farthest first (`figure`, `limbs`, `head`). The owner of each pixel is recorded, so it is known which joints are
//! hidden. Figures stand before a background, some behind one another or behind things (`scene`). A figure that faces
//! the viewer shows a face, one that does not shows the back of the head: this distinguishes left from right.
//!
//! ```
//! use dyconv_data::Split;
//!
//! let picture = dyconv_figures::figure_picture(0, Split::Train, 0);
//! assert_eq!(picture.image.channels, 3);
//! assert_eq!(picture, dyconv_figures::figure_picture(0, Split::Train, 0));
//! ```
#![forbid(unsafe_code)]

mod annotations;
mod body;
mod canvas;
mod clothes;
mod error;
mod figure;
mod head;
mod hull;
mod limbs;
mod picture;
mod random;
mod scene;
mod space;
#[cfg(test)]
mod tests;
mod write;

pub use error::FigureError;
pub use picture::{FigurePicture, LabelledFigure};
pub use scene::figure_picture;
pub use write::{FigureOptions, FigurePart, FigureSummary, make_figures};
