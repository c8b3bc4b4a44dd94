//! How an image is turned into a network's input.

use serde::{Deserialize, Serialize};

/// What to do with the EXIF orientation of a photograph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// The picture is rotated as its EXIF tag says, so that it is upright.
    #[default]
    Exif,
    /// The pixels stay as they are stored in the file.
    Ignore,
}

/// How an image is turned into the network's input: EXIF orientation applied or not, resize of the shorter side, centre
/// crop, /255, (x − mean) / std.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Height and width of the network's input in pixels.
    pub image_size: [usize; 2],
    /// Length in pixels to which the shorter side is resized before the centre crop.
    pub resize: usize,
    /// Mean of each channel, on the scale 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on the scale 0 to 1.
    pub std: Vec<f32>,
    /// Whether the EXIF orientation of photographs is applied.
    pub orientation: Orientation,
}

impl Preprocessing {
    /// The usual statistics: ImageNet's for colour, 0.5 for grey. The EXIF orientation is applied.
    pub fn usual(channels: usize, image_size: [usize; 2], resize: usize) -> Self {
        let (mean, std) = match channels {
            3 => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            n => (vec![0.5; n], vec![0.5; n]),
        };
        Self { channels, image_size, resize, mean, std, orientation: Orientation::Exif }
    }

    /// Checks the bounds of every field.
    ///
    /// # Errors
    /// A sentence that names the field and the expected value.
    pub fn check(&self) -> Result<(), String> {
        if self.channels != 1 && self.channels != 3 {
            return Err(format!("channels must be 1 or 3, got {}", self.channels));
        }
        if self.image_size.iter().chain([&self.resize]).any(|s| !(1..=16_384).contains(s)) {
            let [h, w] = self.image_size;
            return Err(format!(
                "image_size and resize must lie in 1..=16384 pixels, got [{h}, {w}] and {}",
                self.resize
            ));
        }
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                return Err(format!(
                    "{field} needs one value for each of {} channels, got {}",
                    self.channels,
                    values.len()
                ));
            }
            if values.iter().any(|v| !v.is_finite() || (field == "std" && *v < 1e-6)) {
                return Err(format!(
                    "{field} holds a value that is not finite, or a deviation that is not positive: {values:?}"
                ));
            }
        }
        Ok(())
    }
}
