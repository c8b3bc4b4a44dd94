//! From a decoded image to a network's input.

use std::borrow::Cow;

use dyconv_task::{CropMode, Preprocessing};

use crate::crop::PersonCrop;
use crate::error::DataError;
use crate::image::Image;
use crate::limits::DecodeOptions;
use crate::resize::{Cut, resize};

/// Longest side that is resized as it is, if the whole of it is: the longest of a JPEG.
const MOST_RESIZED: usize = 65_535;

/// A checked [`Preprocessing`] that can be applied.
///
/// The steps of timm's transform for evaluation on a Pillow image, by default torchvision's `Resize(resize)`,
/// `CenterCrop(image_size)`, `ToTensor()`, `Normalize(mean, std)`: the result differs by at most one grey level.
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

    /// The input for a trained network: resize, crop, normalise. `[channels, height, width]`.
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
    pub(crate) fn recoloured<'a>(&self, image: &'a Image) -> Cow<'a, Image> {
        if self.description.channels == 1 && image.channels == 3 {
            Cow::Owned(image.to_grey())
        } else {
            Cow::Borrowed(image)
        }
    }

    /// Resizes and crops to `image_size`, as the description's crop mode and interpolation say.
    ///
    /// Only the pixels that are kept are computed, so an image of 1 × 60,000 pixels costs no more than any other.
    pub(crate) fn centre(&self, image: &Image) -> Image {
        let Preprocessing { image_size: [height, width], interpolation, .. } = self.description;
        let image = self.shortened(image);
        let [h, w] = self.resized(image.height, image.width);
        let (x, y) = (Span::centre(w, width), Span::centre(h, height));
        let cut = |whole, span: &Span| Cut { whole, start: span.start, len: span.len };
        let part = resize(&image, cut(w, &x), cut(h, &y), interpolation);
        if (part.width, part.height) == (width, height) {
            return part;
        }
        match self.description.crop {
            CropMode::Center | CropMode::Squash => part.placed(width, height, x.pad, y.pad, &[0; 3]),
            CropMode::Border => {
                let color = self.description.border_color();
                // A grey image may get a coloured border.
                let part = if color.len() > part.channels { part.to_rgb() } else { part };
                part.placed(width, height, x.pad, y.pad, &color)
            }
        }
    }

    /// Height and width to which an image of this height and width is resized.
    fn resized(&self, height: usize, width: usize) -> [usize; 2] {
        match self.description.crop {
            CropMode::Center => {
                // Python's int(size * long / short), as in torchvision.
                let (long, short) = (width.max(height), width.min(height));
                let (short, long) = (self.description.resize, self.description.resize * long / short);
                if width <= height { [long, short] } else { [short, long] }
            }
            CropMode::Squash => self.description.resize_box(),
            CropMode::Border => {
                let target = self.description.resize_box();
                let ratio = (height as f64 / target[0] as f64).max(width as f64 / target[1] as f64);
                // Python's round(side / ratio), as in timm.
                [height, width].map(|side| (side as f64 / ratio).round_ties_even().max(1.0) as usize)
            }
        }
    }

    /// An image of which no side is so long that its filter would take much memory: in modes that shrink the longer side,
    /// however long it is, every few pixels of a very long side are replaced by their mean first.
    fn shortened<'a>(&self, image: &'a Image) -> Cow<'a, Image> {
        let [columns, rows] = [image.width, image.height].map(|side| side.div_ceil(MOST_RESIZED));
        match self.description.crop {
            CropMode::Squash | CropMode::Border if (columns, rows) != (1, 1) => {
                Cow::Owned(image.averaged(columns, rows))
            }
            CropMode::Center | CropMode::Squash | CropMode::Border => Cow::Borrowed(image),
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

/// The part of a line that is kept, and the width of the padding before it.
struct Span {
    start: usize,
    len: usize,
    pad: isize,
}

impl Span {
    /// The `want` central pixels of a line of `have` pixels: halves are rounded to even, as in Python.
    fn centre(have: usize, want: usize) -> Self {
        if have >= want {
            let start = ((have - want) as f64 / 2.0).round_ties_even() as usize;
            Self { start, len: want, pad: 0 }
        } else {
            Self { start: 0, len: have, pad: ((want - have) / 2) as isize }
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

    fn mode(crop: CropMode, image_size: [usize; 2], resize: usize) -> Transform {
        Transform::new(Preprocessing { crop, ..Preprocessing::usual(3, image_size, resize) }).unwrap()
    }

    #[test]
    fn resized_sides_are_those_of_torchvision_and_timm() {
        // Height and width of the image, and what they become.
        let center = mode(CropMode::Center, [224, 224], 256);
        assert_eq!([center.resized(375, 500), center.resized(500, 333)], [[256, 341], [384, 256]]);
        let squash = mode(CropMode::Squash, [256, 192], 292);
        assert_eq!([squash.resized(375, 500), squash.resized(1, 9)], [[292, 219]; 2]);
        let border = mode(CropMode::Border, [224, 224], 235);
        assert_eq!([border.resized(375, 500), border.resized(500, 333)], [[176, 235], [235, 157]]);
        // 5 / 2 = 2.5 and 7 / 2 = 3.5: halves to even.
        let small = mode(CropMode::Border, [5, 5], 5);
        assert_eq!([small.resized(10, 5), small.resized(7, 10)], [[5, 2], [4, 5]]);
        // A thread keeps one pixel.
        assert_eq!(border.resized(1, 60_000), [1, 235]);
    }

    #[test]
    fn a_grey_image_gets_the_border_of_a_coloured_one() {
        let border = mode(CropMode::Border, [3, 3], 3);
        let image = border.centre(&Image::new(3, 1, 1, vec![7, 8, 9]));
        let line = [124, 116, 104].repeat(3);
        assert_eq!(image.data, [line.clone(), vec![7, 7, 7, 8, 8, 8, 9, 9, 9], line].concat());
        // The border is the mean, which is nearly zero for the network.
        let input = border.evaluate(&Image::new(3, 1, 1, vec![7, 8, 9]));
        assert!(input[..3].iter().chain(&input[6..12]).all(|v| v.abs() < 0.01), "{input:?}");
        // Without a border it stays grey, and black is what is missing in other modes.
        assert_eq!(border.centre(&Image::new(3, 3, 1, vec![5; 9])).channels, 1);
        let black = mode(CropMode::Squash, [3, 3], 1).centre(&Image::new(2, 2, 3, vec![90; 12]));
        assert_eq!((black.data[0], black.data[12], black.data[26]), (0, 90, 0));
    }

    #[test]
    fn a_thread_of_an_image_costs_little_where_all_of_it_is_seen() {
        use dyconv_task::Interpolation as I;
        for (crop, interpolation) in [CropMode::Squash, CropMode::Border]
            .into_iter()
            .flat_map(|c| [I::Nearest, I::Bilinear, I::Bicubic, I::Lanczos].map(|i| (c, i)))
        {
            for (width, height) in [(10_000_000, 1), (1, 10_000_000)] {
                let image = Image::new(width, height, 1, vec![7; width * height]);
                let description = Preprocessing { crop, interpolation, ..Preprocessing::usual(1, [224, 224], 224) };
                let out = Transform::new(description).unwrap().centre(&image);
                let seen = out.data.iter().filter(|v| **v == 7).count();
                assert_eq!(seen, if crop == CropMode::Squash { 224 * 224 } else { 224 }, "{crop:?} {interpolation:?}");
            }
        }
    }

    #[test]
    fn a_wrong_description_is_refused() {
        let error = Transform::new(Preprocessing { channels: 2, ..grey([8, 8], 8).description }).unwrap_err();
        assert_eq!(error.to_string(), "preprocessing: channels must be 1 or 3, got 2");
    }
}
