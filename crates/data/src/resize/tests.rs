use dyconv_task::Interpolation as I;
use proptest::prelude::*;

use super::*;

const ALL: [I; 4] = [I::Nearest, I::Bilinear, I::Bicubic, I::Lanczos];

/// Bilinear: the resizer's weights have 15 bits and Pillow's 22, so a sum may round the other way.
const LEVELS: u8 = 1;

/// Largest difference from Pillow, in levels.
pub(crate) fn levels(interpolation: I) -> u8 {
    match interpolation {
        I::Bilinear => LEVELS,
        I::Nearest | I::Bicubic | I::Lanczos => 0,
    }
}

/// Resizes the whole image to `width` × `height` pixels.
fn whole(image: &Image, width: usize, height: usize, interpolation: I) -> Image {
    resize(image, Cut::all(width), Cut::all(height), interpolation)
}

fn noise(width: usize, height: usize, channels: usize, seed: u64) -> Image {
    let bits = |i: usize| {
        (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed).wrapping_mul(0xD134_2543_DE82_EF95)
    };
    Image::new(width, height, channels, (0..width * height * channels).map(|i| (bits(i) >> 56) as u8).collect())
}

/// Value of the filter at a distance, and its radius, in pixels of the coarser of the two images.
fn filter(interpolation: I, x: f64) -> (f64, f64) {
    use std::f64::consts::PI;
    let x = x.abs();
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    match interpolation {
        I::Nearest => unreachable!("no convolution"),
        I::Bilinear => ((1.0 - x).max(0.0), 1.0),
        // Keys's cubic convolution, a = -1/2.
        I::Bicubic if x < 1.0 => (1.5 * x * x * x - 2.5 * x * x + 1.0, 2.0),
        I::Bicubic if x < 2.0 => (-0.5 * x * x * x + 2.5 * x * x - 4.0 * x + 2.0, 2.0),
        I::Bicubic => (0.0, 2.0),
        I::Lanczos => (if x < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 }, 3.0),
    }
}

/// Resizes rows: every output pixel is the mean of the pixels that the filter reaches, by its weights, rounded and
/// clipped to a byte.
fn naive_rows(image: &Image, width: usize, interpolation: I) -> Image {
    let (c, scale) = (image.channels, image.width as f64 / width as f64);
    let stretch = scale.max(1.0);
    let mut data = Vec::new();
    for (y, x) in (0..image.height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let centre = (x as f64 + 0.5) * scale;
        let weights: Vec<f64> = (0..image.width)
            .map(|i| {
                let (weight, radius) = filter(interpolation, (i as f64 + 0.5 - centre) / stretch);
                // Pillow takes the pixels of which the middle is within the radius, rounded.
                let reach = (centre - radius * stretch + 0.5).floor()..(centre + radius * stretch + 0.5).floor();
                if reach.contains(&(i as f64)) { weight } else { 0.0 }
            })
            .collect();
        let total: f64 = weights.iter().sum();
        // 22 bits, halves away from zero.
        let weights: Vec<i64> = weights.iter().map(|w| (w / total * f64::from(1 << 22)).round() as i64).collect();
        for channel in 0..c {
            let value = |i: usize| i64::from(image.data[(y * image.width + i) * c + channel]);
            let sum: i64 = weights.iter().enumerate().map(|(i, w)| w * value(i)).sum();
            data.push(((sum + (1 << 21)) >> 22).clamp(0, 255) as u8);
        }
    }
    Image { width, data, ..*image }
}

fn transposed(image: &Image) -> Image {
    let at = |i: usize| {
        let (x, y) = (i / image.height, i % image.height);
        &image.data[(y * image.width + x) * image.channels..][..image.channels]
    };
    let data = (0..image.width * image.height).flat_map(at).copied().collect();
    Image { width: image.height, height: image.width, channels: image.channels, data }
}

/// Pillow's resize in plain loops: rows, then columns; a direction that keeps its size is left out.
pub(crate) fn naive(image: &Image, width: usize, height: usize, interpolation: I) -> Image {
    if interpolation == I::Nearest {
        // In whole numbers where a centre lies between two pixels or not: floor((i + 1/2) · source / whole).
        let at = |i: usize, source: usize, whole: usize| (2 * i + 1) * source / (2 * whole);
        let pixel = |i: usize| {
            let (x, y) = (at(i % width, image.width, width), at(i / width, image.height, height));
            &image.data[(y * image.width + x) * image.channels..][..image.channels]
        };
        let data = (0..width * height).flat_map(pixel).copied().collect();
        return Image { width, height, channels: image.channels, data };
    }
    let wide = if width == image.width { image.clone() } else { naive_rows(image, width, interpolation) };
    if height == image.height {
        return wide;
    }
    transposed(&naive_rows(&transposed(&wide), height, interpolation))
}

fn most(a: &Image, b: &Image) -> u8 {
    crate::testdata::difference(a, b).0
}

#[test]
fn the_same_size_is_a_copy() {
    let image = Image::new(5, 4, 3, (0..60).collect());
    for interpolation in ALL {
        assert_eq!(whole(&image, 5, 4, interpolation), image);
        let part = Cut { whole: 5, start: 1, len: 3 };
        let rect = Rect { left: 1, top: 0, width: 3, height: 4 };
        assert_eq!(resize(&image, part, Cut::all(4), interpolation), image.cropped(rect));
    }
}

#[test]
fn halving_averages_with_neighbours() {
    let image = Image::new(4, 1, 1, vec![0, 0, 200, 200]);
    // Triangle of radius 2 around 1.0 and 3.0: weights 1/8, 3/8, 3/8, 1/8, cut at the border and normalised.
    let expected = [200.0 / 7.0, 200.0 * 6.0 / 7.0];
    for (got, want) in whole(&image, 2, 1, I::Bilinear).data.iter().zip(expected) {
        assert!((f64::from(*got) - want).abs() <= 0.51, "{got} for {want}");
    }
}

#[test]
fn an_edge_overshoots_by_the_filters_negative_weights() {
    // Twice as large: the centre of pixel 2 lies 1/4 before that of source pixel 1, and its neighbours are 3/4, 5/4 and
    // 7/4 away. Of a step from 50 to 150 after it, the cubic has (−0.5/64)·(…) = −7.03 % in all.
    let image = Image::new(6, 1, 1, vec![50, 50, 50, 150, 150, 150]);
    assert_eq!(whole(&image, 12, 1, I::Nearest).data, [50, 50, 50, 50, 50, 50, 150, 150, 150, 150, 150, 150]);
    assert_eq!(whole(&image, 12, 1, I::Bilinear).data[4..8], [50, 75, 125, 150]);
    for (interpolation, deepest) in [(I::Bicubic, 43), (I::Lanczos, 38)] {
        let row = whole(&image, 12, 1, interpolation).data;
        let least = *row.iter().min().unwrap();
        assert!(least.abs_diff(deepest) <= 3, "{interpolation:?}: {row:?}");
    }
}

#[test]
fn the_nearest_pixel_is_that_under_the_centre() {
    let image = Image::new(5, 1, 1, vec![0, 1, 2, 3, 4]);
    assert_eq!(whole(&image, 3, 1, I::Nearest).data, [0, 2, 4]);
    assert_eq!(whole(&image, 2, 1, I::Nearest).data, [1, 3]);
    assert_eq!(whole(&image, 8, 1, I::Nearest).data, [0, 0, 1, 2, 2, 3, 4, 4]);
    // Far into a line that is too long to be summed.
    let far = Cut { whole: 1 << 40, start: (1 << 39) - 1, len: 2 };
    assert_eq!(resize(&Image::new(2, 1, 1, vec![7, 9]), far, Cut::all(1), I::Nearest).data, [7, 9]);
}

proptest! {
    #[test]
    fn a_flat_image_stays_flat(
        w in 1usize..70, h in 1usize..70, to_w in 1usize..70, to_h in 1usize..70, v: u8,
        interpolation in prop::sample::select(ALL.to_vec()),
    ) {
        let image = Image::new(w, h, 1, vec![v; w * h]);
        prop_assert!(whole(&image, to_w, to_h, interpolation).data.iter().all(|p| p.abs_diff(v) <= levels(interpolation)));
    }

    #[test]
    fn every_filter_is_the_naive_loop(
        w in 1usize..50, h in 1usize..50, to_w in 1usize..60, to_h in 1usize..60, seed: u64, sharp: bool,
        channels in prop::sample::select(vec![1, 3]), interpolation in prop::sample::select(ALL[1..].to_vec()),
    ) {
        let mut image = noise(w, h, channels, seed);
        if sharp {
            // Black and white: sums leave 0..=255 as far as they can.
            image.data.iter_mut().for_each(|v| *v = if *v < 128 { 0 } else { 255 });
        }
        let (ours, loops) = (whole(&image, to_w, to_h, interpolation), naive(&image, to_w, to_h, interpolation));
        prop_assert!(most(&ours, &loops) <= levels(interpolation), "{} levels", most(&ours, &loops));
    }

    #[test]
    fn the_nearest_is_the_naive_loop_where_no_centre_lies_between_pixels(
        w in 1usize..90, h in 1usize..90, to_w in 1usize..90, to_h in 1usize..90, seed: u64,
    ) {
        let between = |source: usize, whole: usize| (0..whole).any(|i| (2 * i + 1) * source % (2 * whole) == 0);
        prop_assume!(!between(w, to_w) && !between(h, to_h));
        let image = noise(w, h, 3, seed);
        prop_assert_eq!(whole(&image, to_w, to_h, I::Nearest), naive(&image, to_w, to_h, I::Nearest));
    }

    #[test]
    fn a_part_is_resized_as_if_cut_out(
        w in 1usize..50, h in 1usize..50, to_w in 1usize..40, to_h in 1usize..40,
        channels in prop::sample::select(vec![1, 3]), x in 0.0f64..1.0, y in 0.0f64..1.0, part in 0.0f64..1.0,
        interpolation in prop::sample::select(ALL.to_vec()),
    ) {
        let image = Image::new(w, h, channels, (0..w * h * channels).map(|i| (i * 89) as u8).collect());
        let at = |x: f64, len: usize| (x * len as f64) as usize;
        let (left, top) = (at(x, w), at(y, h));
        let rect = Rect { left, top, width: 1 + at(part, w - left), height: 1 + at(part, h - top) };
        let rect = Rect { width: rect.width.min(w - left), height: rect.height.min(h - top), ..rect };
        let expected = whole(&image.cropped(rect), to_w, to_h, interpolation);
        prop_assert_eq!(resize_part(&image, rect, to_w, to_h, interpolation), expected);
    }

    #[test]
    fn a_cut_is_the_part_of_the_whole(
        w in 1usize..60, h in 1usize..60, to_w in 1usize..60, to_h in 1usize..60,
        x in 0.0f64..1.0, y in 0.0f64..1.0, wide in 0.0f64..1.0, seed: u64,
        interpolation in prop::sample::select(ALL.to_vec()),
    ) {
        let image = noise(w, h, 1, seed);
        let cut = |to: usize, at: f64| {
            let start = (at * to as f64) as usize;
            Cut { whole: to, start, len: 1 + (wide * (to - start) as f64) as usize }
        };
        let shorter = |c: Cut| Cut { len: c.len.min(c.whole - c.start), ..c };
        let (x, y) = (shorter(cut(to_w, x)), shorter(cut(to_h, y)));
        let rect = Rect { left: x.start, top: y.start, width: x.len, height: y.len };
        let expected = whole(&image, to_w, to_h, interpolation).cropped(rect);
        let part = resize(&image, x, y, interpolation);
        prop_assert!(most(&part, &expected) <= levels(interpolation));
    }
}
