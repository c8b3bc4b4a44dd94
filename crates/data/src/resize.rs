//! Antialiased bilinear resizing, equivalent to Pillow's `BILINEAR`.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};

use crate::image::{Image, Rect};

/// A rectangle of the source in fractional pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Window {
    fn of_size(width: usize, height: usize) -> Self {
        Self { left: 0.0, top: 0.0, width: width as f64, height: height as f64 }
    }
}

/// Resizes the part `window` of the image to `width` × `height` pixels.
///
/// Pixels just outside the window contribute where the filter reaches them, so resizing a window gives the same pixels
/// as resizing the whole image and cropping afterwards. If the size stays the same, pixels are copied.
///
/// A grey image is resized as three equal channels: every pixel type that the resizer is compiled for adds about 20 s
/// of build time, and large grey images are rare.
pub(crate) fn resize_window(image: &Image, window: Window, width: usize, height: usize) -> Image {
    if image.channels == 1 {
        if window == Window::of_size(image.width, image.height) && (image.width, image.height) == (width, height) {
            return image.clone();
        }
        let data = image.data.iter().flat_map(|&v| [v; 3]).collect();
        let three = resize_window(&Image { channels: 3, data, ..*image }, window, width, height);
        return Image { channels: 1, data: three.data.into_iter().step_by(3).collect(), ..three };
    }
    // Sums of rounded fractions may exceed the image by one unit in the last place.
    let left = window.left.clamp(0.0, image.width as f64);
    let top = window.top.clamp(0.0, image.height as f64);
    let (w, h) = (within(left, window.width, image.width), within(top, window.height, image.height));
    run(&view(image), &options().crop(left, top, w, h), width, height)
}

/// Resizes the part `rect` of an image to `width` × `height` pixels as if it were the whole image.
pub(crate) fn resize_part(image: &Image, rect: Rect, width: usize, height: usize) -> Image {
    if image.channels == 1 {
        return resize_window(&image.cropped(rect), Window::of_size(rect.width, rect.height), width, height);
    }
    let [left, top, w, h] = [rect.left, rect.top, rect.width, rect.height].map(|v| v as u32);
    let part = TypedCroppedImage::new(view(image), left, top, w, h).expect("a part of the image");
    run(&part, &options(), width, height)
}

fn view(image: &Image) -> TypedImageRef<'_, U8x3> {
    TypedImageRef::from_buffer(image.width as u32, image.height as u32, &image.data).expect(SIZES)
}

const SIZES: &str = "an image holds as many bytes as its sizes say";

fn options() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false)
}

fn run(source: &impl ImageView<Pixel = U8x3>, options: &ResizeOptions, width: usize, height: usize) -> Image {
    let mut data = vec![0; width * height * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(width as u32, height as u32, &mut data).expect(SIZES);
    Resizer::new().resize_typed(source, &mut target, options).expect("a window inside the image");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Resizes the whole image to `width` × `height` pixels.
    fn resize(image: &Image, width: usize, height: usize) -> Image {
        resize_window(image, Window::of_size(image.width, image.height), width, height)
    }

    use proptest::prelude::*;

    #[test]
    fn the_same_size_is_a_copy() {
        let image = Image::new(5, 4, 3, (0..60).collect());
        assert_eq!(resize(&image, 5, 4), image);
    }

    #[test]
    fn halving_averages_with_neighbours() {
        let image = Image::new(4, 1, 1, vec![0, 0, 200, 200]);
        // Triangle of radius 2 around 1.0 and 3.0: weights 1/8, 3/8, 3/8, 1/8, cut at the border and normalised.
        let expected = [200.0 / 7.0, 200.0 * 6.0 / 7.0];
        for (got, want) in resize(&image, 2, 1).data.iter().zip(expected) {
            assert!((f64::from(*got) - want).abs() <= 0.51, "{got} for {want}");
        }
    }

    proptest! {
        #[test]
        fn a_flat_image_stays_flat(w in 1usize..70, h in 1usize..70, to_w in 1usize..70, to_h in 1usize..70, v: u8) {
            let image = Image::new(w, h, 1, vec![v; w * h]);
            prop_assert!(resize(&image, to_w, to_h).data.iter().all(|p| p.abs_diff(v) <= 1));
        }

        #[test]
        fn a_part_is_resized_as_if_cut_out(
            w in 1usize..50, h in 1usize..50, to_w in 1usize..40, to_h in 1usize..40,
            channels in prop::sample::select(vec![1, 3]), x in 0.0f64..1.0, y in 0.0f64..1.0, part in 0.0f64..1.0,
        ) {
            let image = Image::new(w, h, channels, (0..w * h * channels).map(|i| (i * 89) as u8).collect());
            let at = |x: f64, len: usize| (x * len as f64) as usize;
            let (left, top) = (at(x, w), at(y, h));
            let rect = Rect { left, top, width: 1 + at(part, w - left), height: 1 + at(part, h - top) };
            let rect = Rect { width: rect.width.min(w - left), height: rect.height.min(h - top), ..rect };
            prop_assert_eq!(resize_part(&image, rect, to_w, to_h), resize(&image.cropped(rect), to_w, to_h));
        }

        #[test]
        fn a_window_is_the_part_of_the_whole(
            w in 2usize..60, h in 2usize..60, to_w in 2usize..60, to_h in 2usize..60,
            x in 0.0f64..1.0, y in 0.0f64..1.0, seed: u8,
        ) {
            let data = (0..w * h).map(|i| (i * 89 + usize::from(seed)) as u8).collect();
            let image = Image::new(w, h, 1, data);
            let whole = resize(&image, to_w, to_h);
            let (left, top) = ((x * to_w as f64) as usize, (y * to_h as f64) as usize);
            let (sx, sy) = (w as f64 / to_w as f64, h as f64 / to_h as f64);
            let (part_w, part_h) = (to_w - left, to_h - top);
            let window = Window {
                left: left as f64 * sx, top: top as f64 * sy, width: part_w as f64 * sx, height: part_h as f64 * sy,
            };
            let part = resize_window(&image, window, part_w, part_h);
            let rect = crate::image::Rect { left, top, width: part_w, height: part_h };
            for (a, b) in part.data.iter().zip(&whole.cropped(rect).data) {
                prop_assert!(a.abs_diff(*b) <= 1);
            }
        }
    }
}
