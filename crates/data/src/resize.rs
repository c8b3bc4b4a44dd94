//! Resizing by the filters of Pillow, antialiased.

mod convolve;
mod nearest;
#[cfg(test)]
pub(crate) mod tests;

use convolve::Filter;
use dyconv_task::Interpolation;
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};

use crate::image::{Image, Rect};

/// The part of a line of pixels that is kept after the line was resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    /// Length of the whole resized line.
    pub whole: usize,
    /// First pixel that is kept.
    pub start: usize,
    /// Number of pixels that are kept.
    pub len: usize,
}

impl Cut {
    /// The whole line, resized to `len` pixels.
    pub fn all(len: usize) -> Self {
        Self { whole: len, start: 0, len }
    }
}

/// Resizes the image to `x.whole` × `y.whole` pixels and keeps a part of it, of which alone the pixels are computed.
///
/// Pixels just outside the part contribute where the filter reaches them, so the part is the same as that of the whole
/// resized image. If the size stays the same, pixels are copied.
pub(crate) fn resize(image: &Image, x: Cut, y: Cut, interpolation: Interpolation) -> Image {
    if (image.width, image.height) == (x.whole, y.whole) {
        return image.cropped(Rect { left: x.start, top: y.start, width: x.len, height: y.len });
    }
    let whole = Rect { left: 0, top: 0, width: image.width, height: image.height };
    match interpolation {
        Interpolation::Nearest => nearest::resize(image, whole, x, y),
        Interpolation::Bilinear => bilinear(image, x, y),
        Interpolation::Bicubic => convolve::resize(image, whole, x, y, Filter::Cubic),
        Interpolation::Lanczos => convolve::resize(image, whole, x, y, Filter::Lanczos),
    }
}

/// Resizes the part `rect` of an image to `width` × `height` pixels as if it were the whole image.
pub(crate) fn resize_part(
    image: &Image,
    rect: Rect,
    width: usize,
    height: usize,
    interpolation: Interpolation,
) -> Image {
    let (x, y) = (Cut::all(width), Cut::all(height));
    if (rect.width, rect.height) == (width, height) {
        return image.cropped(rect);
    }
    match interpolation {
        Interpolation::Nearest => nearest::resize(image, rect, x, y),
        Interpolation::Bilinear if image.channels == 1 => bilinear(&image.cropped(rect), x, y),
        Interpolation::Bilinear => {
            let [left, top, w, h] = [rect.left, rect.top, rect.width, rect.height].map(|v| v as u32);
            let part = TypedCroppedImage::new(view(image), left, top, w, h).expect("a part of the image");
            run(&part, options(), width, height)
        }
        Interpolation::Bicubic => convolve::resize(image, rect, x, y, Filter::Cubic),
        Interpolation::Lanczos => convolve::resize(image, rect, x, y, Filter::Lanczos),
    }
}

/// The resizer's bilinear filter, which is much faster than [`convolve`]. It resizes columns before rows, with weights
/// of 15 bits. Since no weight is negative, that is at most one level away from Pillow.
///
/// A grey image is resized as three equal channels: every pixel type that the resizer is compiled for adds about 20 s
/// of build time, and large grey images are rare.
fn bilinear(image: &Image, x: Cut, y: Cut) -> Image {
    if image.channels == 1 {
        let three = bilinear(&image.to_rgb(), x, y);
        return Image { channels: 1, data: three.data.into_iter().step_by(3).collect(), ..three };
    }
    let window = |source: usize, cut: Cut| {
        let scale = source as f64 / cut.whole as f64;
        // Sums of rounded fractions may exceed the image by one unit in the last place.
        let start = (cut.start as f64 * scale).clamp(0.0, source as f64);
        (start, within(start, cut.len as f64 * scale, source))
    };
    let ((left, w), (top, h)) = (window(image.width, x), window(image.height, y));
    run(&view(image), options().crop(left, top, w, h), x.len, y.len)
}

fn view(image: &Image) -> TypedImageRef<'_, U8x3> {
    TypedImageRef::from_buffer(image.width as u32, image.height as u32, &image.data).expect(SIZES)
}

const SIZES: &str = "an image holds as many bytes as its sizes say";

fn options() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false)
}

fn run(source: &impl ImageView<Pixel = U8x3>, options: ResizeOptions, width: usize, height: usize) -> Image {
    let mut data = vec![0; width * height * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(width as u32, height as u32, &mut data).expect(SIZES);
    Resizer::new().resize_typed(source, &mut target, &options).expect("a window inside the image");
    Image { width, height, channels: 3, data }
}

/// The largest length up to `len` with `start + length <= limit` in floating point.
fn within(start: f64, len: f64, limit: usize) -> f64 {
    let mut len = len.min(limit as f64 - start);
    while start + len > limit as f64 {
        len = len.next_down();
    }
    len
}
