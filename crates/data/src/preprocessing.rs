//! From a decoded image to a network's input.

use dyconv_task::Preprocessing;

use crate::crop::PersonCrop;
use crate::error::DataError;
use crate::image::Image;
use crate::limits::DecodeOptions;
use crate::resize::{Window, resize_window};

/// A checked [`Preprocessing`] that can be applied.
///
/// The same steps as torchvision's `Resize(resize)`, `CenterCrop(image_size)`, `ToTensor()`, `Normalize(mean, std)` on
/// a Pillow image: the result differs by at most one grey level.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    description: Preprocessing,
    max_pixels: usize,
}

impl Transform {
    /// Checks the description.
    ///
    /// # Errors
    /// Those of [`Preprocessing::check`].
    pub fn new(description: Preprocessing) -> Result<Self, DataError> {
        description.check().map_err(|message| DataError::new("preprocessing", message))?;
        Ok(Self { description, max_pixels: DecodeOptions::default().max_pixels })
    }

    /// Sets the largest number of pixels of an image; the default is 100 million.
    #[must_use]
    pub fn with_max_pixels(self, max_pixels: usize) -> Self {
        Self { max_pixels, ..self }
    }

    /// The options for decoding image files.
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions { orientation: self.description.orientation, max_pixels: self.max_pixels }
    }

    /// The description.
    pub fn description(&self) -> &Preprocessing {
        &self.description
    }

    /// Shape `[channels, height, width]` of one input.
    pub fn shape(&self) -> [usize; 3] {
        [self.description.channels, self.description.image_size[0], self.description.image_size[1]]
    }

    /// Elements of one input.
    pub fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// The input for a trained network: resize, centre crop, normalise. `[channels, height, width]`.
    pub fn evaluate(&self, image: &Image) -> Vec<f32> {
        self.normalise(&self.centre(&self.recoloured(image)))
    }

    /// The input for a trained keypoint network: the region of the image that the crop shows, normalised. `[channels,
    /// height, width]`; `resize` is unused.
    pub fn crop(&self, image: &Image, crop: PersonCrop) -> Vec<f32> {
        self.normalise(&crop.cut(&self.recoloured(image), self.description.image_size))
    }

    /// Converts to grey if one channel is wanted. (One channel becomes three in [`Self::normalise`], where it costs
    /// nothing.)
    pub(crate) fn recoloured<'a>(&self, image: &'a Image) -> std::borrow::Cow<'a, Image> {
        if self.description.channels == 1 && image.channels == 3 {
            std::borrow::Cow::Owned(image.to_grey())
        } else {
            std::borrow::Cow::Borrowed(image)
        }
    }

    /// Resizes the shorter side to `resize` and takes the centre of `image_size`, padded with black if the image is
    /// smaller.
    ///
    /// Only the pixels of the centre are computed, so an image of 1 × 60,000 pixels costs no more than any other.
    pub(crate) fn centre(&self, image: &Image) -> Image {
        let [height, width] = self.description.image_size;
        let (long, short) = (image.width.max(image.height), image.width.min(image.height));
        let long = self.description.resize * long / short;
        let (w, h) =
            if image.width <= image.height { (self.description.resize, long) } else { (long, self.description.resize) };
        let (x, y) = (Span::centre(w, width), Span::centre(h, height));
        let (sx, sy) = (image.width as f64 / w as f64, image.height as f64 / h as f64);
        let window = Window {
            left: x.start as f64 * sx,
            top: y.start as f64 * sy,
            width: x.len as f64 * sx,
            height: y.len as f64 * sy,
        };
        let cut = resize_window(image, window, x.len, y.len);
        if (cut.width, cut.height) == (width, height) {
            cut
        } else {
            cut.placed(width, height, x.pad as isize, y.pad as isize)
        }
    }

    /// Bytes to numbers: (value / 255 − mean) / std, `[height, width, channels]` to `[channels, height, width]`.
    pub(crate) fn normalise(&self, image: &Image) -> Vec<f32> {
        let pixels = image.width * image.height;
        let mut out = vec![0.0; self.description.channels * pixels];
        for (channel, plane) in out.chunks_exact_mut(pixels).enumerate() {
            let (mean, std) = (self.description.mean[channel], self.description.std[channel]);
            let table: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std);
            let source = channel.min(image.channels - 1);
            for (out, pixel) in plane.iter_mut().zip(image.data.chunks_exact(image.channels)) {
                *out = table[usize::from(pixel[source])];
            }
        }
        out
    }
}

/// The part of a line that is kept, and the width of the black padding before it.
struct Span {
    start: usize,
    len: usize,
    pad: usize,
}

impl Span {
    /// The `want` central pixels of a line of `have` pixels: halves are rounded to even, as in Python.
    fn centre(have: usize, want: usize) -> Self {
        if have >= want {
            let start = ((have - want) as f64 / 2.0).round_ties_even() as usize;
            Self { start, len: want, pad: 0 }
        } else {
            Self { start: 0, len: have, pad: (want - have) / 2 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(channels: usize, image_size: [usize; 2], resize: usize, mean: Vec<f32>, std: Vec<f32>) -> Transform {
        Transform::new(Preprocessing { mean, std, ..Preprocessing::usual(channels, image_size, resize) }).unwrap()
    }

    fn grey(size: [usize; 2], resize: usize) -> Transform {
        transform(1, size, resize, vec![0.0], vec![1.0])
    }

    #[test]
    fn numbers_are_normalised_per_channel_and_channels_first() {
        let pre = transform(3, [1, 2], 1, vec![0.0, 0.5, 1.0], vec![1.0, 0.5, 0.25]);
        let image = Image::new(2, 1, 3, vec![255, 255, 255, 0, 0, 0]);
        assert_eq!(pre.evaluate(&image), vec![1.0, 0.0, 1.0, -1.0, 0.0, -4.0]);
    }

    #[test]
    fn grey_is_repeated_and_rgb_becomes_grey() {
        let three = transform(3, [1, 1], 1, vec![0.0; 3], vec![1.0; 3]);
        assert_eq!(three.evaluate(&Image::new(1, 1, 1, vec![51])), vec![0.2; 3]);
        let rgb = Image::new(1, 1, 3, vec![255, 0, 0]);
        assert_eq!(grey([1, 1], 1).evaluate(&rgb), vec![76.0 / 255.0]);
    }

    #[test]
    fn an_image_of_the_right_size_is_not_resampled() {
        let image = Image::new(8, 8, 1, (0..64).map(|i| i * 37 % 255).map(|v| v as u8).collect());
        let expected: Vec<f32> = image.data.iter().map(|&v| f32::from(v) / 255.0).collect();
        assert_eq!(grey([8, 8], 8).evaluate(&image), expected);
    }

    #[test]
    fn centre_offsets_are_rounded_to_even_and_padding_goes_right() {
        let starts = [(5, 4), (7, 4), (9, 4), (4, 4)].map(|(have, want)| Span::centre(have, want).start);
        assert_eq!(starts, [0, 2, 2, 0]);
        let pads = [(4, 5), (4, 6), (4, 7)].map(|(have, want)| Span::centre(have, want).pad);
        assert_eq!(pads, [0, 1, 1]);
        let padded = grey([3, 4], 1).evaluate(&Image::new(1, 1, 1, vec![255]));
        assert_eq!(padded, vec![0., 0., 0., 0., 0., 1., 0., 0., 0., 0., 0., 0.]);
    }

    #[test]
    fn a_thread_of_an_image_costs_little() {
        let image = Image::new(60_000, 1, 1, vec![7; 60_000]);
        let out = grey([224, 224], 256).evaluate(&image);
        assert!(out.iter().all(|&v| v == 7.0 / 255.0));
    }

    #[test]
    fn a_wrong_description_is_refused() {
        let error = Transform::new(Preprocessing { channels: 2, ..grey([8, 8], 8).description }).unwrap_err();
        assert_eq!(error.to_string(), "preprocessing: channels must be 1 or 3, got 2");
    }
}
