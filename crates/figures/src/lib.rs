//! Pictures of articulated figures, with the truth about their joints: data for keypoint networks where there is no COCO.
//!
//! A figure is a body of 17 joints in space (`body`), dressed (`clothes`), projected and painted part by part, the
//! farthest first (`figure`, `limbs`, `head`). Who owns each pixel is kept, so it is known which joints are hidden. Figures
//! stand before a background, some behind one another or behind things (`scene`). Who faces us shows a face, who does not
//! shows the back of the head: that tells left from right.
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
