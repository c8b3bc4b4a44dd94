//! How an image is turned into a network's input.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

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

/// The filter by which an image is resized. Every filter but the nearest is antialiased, as Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The pixel under the centre of the new one. Pillow's `NEAREST`.
    Nearest,
    /// A triangle, two source pixels wide where the image grows. Pillow's `BILINEAR`.
    #[default]
    Bilinear,
    /// Cubic convolution with a = −0.5, four source pixels wide. Pillow's `BICUBIC`.
    Bicubic,
    /// A windowed sinc, six source pixels wide. Pillow's `LANCZOS`.
    Lanczos,
}

impl Interpolation {
    /// The word for it in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }
}

/// How an image of any aspect ratio is brought to the size of the input, as timm's `crop_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropMode {
    /// The shorter side is resized to [`Preprocessing::resize`], and the centre is cropped: the aspect ratio is kept and
    /// the ends of the longer side are lost. What the image does not cover is black.
    #[default]
    Center,
    /// Both sides are resized, whatever the aspect ratio of the image: to [`Preprocessing::resize_box`]. Then the centre
    /// is cropped.
    Squash,
    /// The image is resized to fit into [`Preprocessing::resize_box`] with its aspect ratio kept. Then it is padded with
    /// [`Preprocessing::border_color`] to the size of the input, and cropped where it is larger.
    Border,
}

impl CropMode {
    /// The word for it in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Squash => "squash",
            Self::Border => "border",
        }
    }
}

/// How an image is turned into the network's input: EXIF orientation applied or not, resize, centre crop, /255,
/// (x − mean) / std.
///
/// In a file, `interpolation` and `crop` may be absent: bilinear and center.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Height and width of the network's input in pixels.
    pub image_size: [usize; 2],
    /// Length in pixels to which the image is resized before the crop: the shorter side with [`CropMode::Center`], else
    /// the longer side of [`resize_box`](Self::resize_box).
    pub resize: usize,
    /// Mean of each channel, on the scale 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on the scale 0 to 1.
    pub std: Vec<f32>,
    /// Whether the EXIF orientation of photographs is applied.
    #[serde(deserialize_with = "orientation")]
    pub orientation: Orientation,
    /// The filter of the resize.
    #[serde(default, deserialize_with = "interpolation")]
    pub interpolation: Interpolation,
    /// How the aspect ratio of the image is brought to that of the input.
    #[serde(default, deserialize_with = "crop")]
    pub crop: CropMode,
}

/// A word whose error names its field: serde's own lists the words that are expected, and says nothing else.
fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: &str, from: D) -> Result<T, D::Error> {
    T::deserialize(from).map_err(|e| D::Error::custom(format!("preprocessing: {field}: {e}")))
}

fn orientation<'de, D: Deserializer<'de>>(from: D) -> Result<Orientation, D::Error> {
    word("orientation", from)
}

fn interpolation<'de, D: Deserializer<'de>>(from: D) -> Result<Interpolation, D::Error> {
    word("interpolation", from)
}

fn crop<'de, D: Deserializer<'de>>(from: D) -> Result<CropMode, D::Error> {
    word("crop", from)
}

impl Preprocessing {
    /// The usual statistics: ImageNet's for colour, 0.5 for grey. The EXIF orientation is applied, the interpolation is
    /// bilinear, and the centre is cropped.
    pub fn usual(channels: usize, image_size: [usize; 2], resize: usize) -> Self {
        let (mean, std) = match channels {
            3 => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            n => (vec![0.5; n], vec![0.5; n]),
        };
        let (orientation, interpolation, crop) = Default::default();
        Self { channels, image_size, resize, mean, std, orientation, interpolation, crop }
    }

    /// Height and width to which [`CropMode::Squash`] resizes and into which [`CropMode::Border`] fits: `resize` along
    /// the longer side of `image_size`, the other side in proportion, rounded down, at least 1.
    ///
    /// ```
    /// use dyconv_task::Preprocessing;
    ///
    /// assert_eq!(Preprocessing::usual(3, [224, 224], 256).resize_box(), [256, 256]);
    /// assert_eq!(Preprocessing::usual(3, [256, 192], 292).resize_box(), [292, 219]);
    /// ```
    pub fn resize_box(&self) -> [usize; 2] {
        let long = self.image_size[0].max(self.image_size[1]).max(1);
        self.image_size
            .map(|side| if side == long { self.resize } else { (side.saturating_mul(self.resize) / long).max(1) })
    }

    /// The value of each channel with which [`CropMode::Border`] pads: round(255 · mean), halves to even, 0 to 255. It
    /// becomes (nearly) 0 in the network's input.
    ///
    /// ```
    /// use dyconv_task::Preprocessing;
    ///
    /// assert_eq!(Preprocessing::usual(3, [224, 224], 256).border_color(), [124, 116, 104]);
    /// ```
    pub fn border_color(&self) -> Vec<u8> {
        // The shortest decimal is the number as it was written: 255 · 0.3 is a half, 255 times the f32 is more.
        let decimal = |mean: &f32| mean.to_string().parse().unwrap_or(f64::from(*mean));
        self.mean.iter().map(|mean| (255.0 * decimal(mean)).round_ties_even() as u8).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "channels = 1\nimage_size = [8, 8]\nresize = 8\nmean = [0.5]\nstd = [0.5]\norientation = \"exif\"\n";

    #[test]
    fn what_a_file_does_not_say_is_bilinear_and_center() {
        let read: Preprocessing = toml::from_str(OLD).unwrap();
        assert_eq!(read, Preprocessing::usual(1, [8, 8], 8));
        assert_eq!((read.interpolation, read.crop), (Interpolation::Bilinear, CropMode::Center));
    }

    #[test]
    fn names_are_those_of_timm_and_others_are_refused_by_field() {
        use {CropMode as C, Interpolation as I};
        let read = |line: &str| toml::from_str::<Preprocessing>(&format!("{OLD}{line}"));
        let filters =
            [("nearest", I::Nearest), ("bilinear", I::Bilinear), ("bicubic", I::Bicubic), ("lanczos", I::Lanczos)];
        for (name, expected) in filters {
            let read = read(&format!("interpolation = \"{name}\"")).unwrap();
            assert_eq!((read.interpolation, read.interpolation.name()), (expected, name));
            assert!(toml::to_string(&read).unwrap().contains(&format!("interpolation = \"{name}\"")));
        }
        for (name, expected) in [("center", C::Center), ("squash", C::Squash), ("border", C::Border)] {
            let read = read(&format!("crop = \"{name}\"")).unwrap();
            assert_eq!((read.crop, read.crop.name()), (expected, name));
            assert!(toml::to_string(&read).unwrap().contains(&format!("crop = \"{name}\"")));
        }
        for (line, expected) in [
            (
                "interpolation = \"cubic\"",
                "interpolation: unknown variant `cubic`, expected one of `nearest`, `bilinear`",
            ),
            ("crop = \"centre\"", "crop: unknown variant `centre`, expected one of `center`, `squash`, `border`"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_border_is_rounded_as_in_python() {
        let of = |mean: f32| Preprocessing { mean: vec![mean], ..Preprocessing::usual(1, [8, 8], 8) }.border_color()[0];
        // 25.5, 76.5, 127.5, 178.5, 229.5; then what is no colour.
        assert_eq!([0.1, 0.3, 0.5, 0.7, 0.9].map(of), [26, 76, 128, 178, 230]);
        assert_eq!([0.0, 1.0, -3.0, 7.0].map(of), [0, 255, 0, 255]);
    }

    #[test]
    fn the_box_keeps_the_aspect_ratio_of_the_input() {
        let of = |size, resize| Preprocessing::usual(1, size, resize).resize_box();
        assert_eq!(of([192, 256], 292), [219, 292]);
        assert_eq!(of([10, 7], 13), [13, 9]);
        assert_eq!(of([1, 16_384], 3), [1, 3]);
    }
}
