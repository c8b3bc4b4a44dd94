//! Checks that a picture is the annotated one: joints do not fit a picture of another size or orientation.

use dyconv_task::Orientation;

use super::{People, PersonImage};
use crate::image::Image;

impl People {
    /// Compares the size of a decoded picture, the image with this index, with that in the annotations. `orientation`
    /// is the option with which it was decoded.
    pub(crate) fn check_size(&self, image: usize, found: &Image, orientation: Orientation) -> Result<(), String> {
        let PersonImage { width, height, .. } = self.images[image];
        if (found.width, found.height) == (width, height) {
            return Ok(());
        }
        let mut message = format!("is {} × {}, the annotations say {width} × {height}", found.width, found.height);
        if (found.height, found.width) == (width, height) {
            message += match orientation {
                Orientation::Exif => {
                    "; a quarter turn would make them agree: if the pictures were annotated as they are stored, without \
                     their EXIF orientation, train with data.orientation = \"ignore\""
                }
                Orientation::Ignore => {
                    "; a quarter turn would make them agree: if the pictures were annotated upright, as their EXIF \
                     orientation says, train with data.orientation = \"exif\""
                }
            };
        }
        Err(message)
    }
}
