//! Maps between a box in an image and a network's input: one affine map, used by training, evaluation and prediction.
//!
//! A point is given in pixels, where (0, 0) is the centre of the top left pixel, as in SimpleBaseline (arXiv
//! 1804.06208). The centre of the box is mapped to (width / 2, height / 2) of the input. The input shows a region of
//! the image with its own aspect ratio: the box, extended on the side that is too short, and a margin around it.

use crate::image::Image;

/// Size of the region shown, relative to the box, per side: SimpleBaseline's margin.
const MARGIN: f64 = 1.25;

/// A box whose part inside the image is narrower or lower than this is empty: half a pixel.
const LEAST: f64 = 0.5;

/// Bounds of the width of the region shown, in image pixels: they keep the map and its inverse finite.
const WIDTHS: [f64; 2] = [1e-6, 1e12];

/// An axis-aligned box in an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PersonBox {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width, positive.
    pub width: f64,
    /// Height, positive.
    pub height: f64,
}

impl PersonBox {
    /// The box of a whole image.
    pub fn whole(image: &Image) -> Self {
        Self { x: 0.0, y: 0.0, width: image.width as f64, height: image.height as f64 }
    }

    /// The part of the box inside an image of `width` × `height` pixels, or `None` if that part is less than half a
    /// pixel wide or high, or a number is not finite.
    pub fn clipped(self, width: usize, height: usize) -> Option<Self> {
        let (x, y) = (self.x.max(0.0), self.y.max(0.0));
        let (right, bottom) = ((self.x + self.width).min(width as f64), (self.y + self.height).min(height as f64));
        let finite = [self.x, self.y, self.width, self.height].iter().all(|v| v.is_finite());
        (finite && right - x >= LEAST && bottom - y >= LEAST).then_some(Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        })
    }

    pub(crate) fn centre(self) -> [f64; 2] {
        [self.x + 0.5 * self.width, self.y + 0.5 * self.height]
    }
}

/// The region of an image that a network sees, with its rotation and mirroring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PersonCrop {
    /// Point of the image at the centre of the input.
    pub centre: [f64; 2],
    /// Width of the region shown, in image pixels; clamped to 10⁻⁶ … 10¹² pixels.
    pub width: f64,
    /// Rotation of the region in degrees.
    pub rotation: f64,
    /// Whether the input is mirrored left to right.
    pub mirrored: bool,
}

impl PersonCrop {
    /// The unrotated crop around a box, for inputs of `[height, width]` pixels.
    pub fn around(box_: PersonBox, input: [usize; 2]) -> Self {
        Self::showing(box_.centre(), [box_.width, box_.height], MARGIN, input)
    }

    /// A crop that shows `size` `[width, height]` around `centre`, with a margin.
    pub(crate) fn showing(centre: [f64; 2], size: [f64; 2], margin: f64, [h, w]: [usize; 2]) -> Self {
        let width = size[0].max(size[1] * w as f64 / h as f64);
        Self { centre, width: width * margin, rotation: 0.0, mirrored: false }
    }

    /// The same region, mirrored: column c of the input shows what column width − c showed.
    #[must_use]
    pub fn mirror(self) -> Self {
        Self { mirrored: !self.mirrored, ..self }
    }

    /// Maps points of an input of `[height, width]` pixels to points of the image.
    pub fn to_image(self, [h, w]: [usize; 2]) -> Affine {
        let scale = self.width.clamp(WIDTHS[0], WIDTHS[1]) / w as f64;
        let (sin, cos) = self.rotation.to_radians().sin_cos();
        let side = if self.mirrored { -1.0 } else { 1.0 };
        // image = centre + scale · R · M · (input − middle), M mirroring columns.
        let [a, b, d, e] = [scale * cos * side, -scale * sin, scale * sin * side, scale * cos];
        let (u, v) = (0.5 * w as f64, 0.5 * h as f64);
        Affine([a, b, self.centre[0] - a * u - b * v, d, e, self.centre[1] - d * u - e * v])
    }

    /// Renders the region: `[height, width]` pixels, bilinear, black outside the image.
    pub fn cut(self, image: &Image, input: [usize; 2]) -> Image {
        warp(image, &self.to_image(input), input)
    }
}

/// x' = a·x + b·y + c, y' = d·x + e·y + f.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine(pub [f64; 6]);

impl Affine {
    /// Maps a point.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [a, b, c, d, e, f] = self.0;
        [a * x + b * y + c, d * x + e * y + f]
    }

    /// The inverse map.
    ///
    /// # Panics
    /// If there is no inverse; crops of positive width always have one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let det = a * e - b * d;
        assert!(det != 0.0, "a map onto a line has no inverse");
        let [a, b, d, e] = [e / det, -b / det, -d / det, a / det];
        Self([a, b, -(a * c + b * f), d, e, -(d * c + e * f)])
    }
}

/// Fills `[height, width]` pixels from the source points given by `to_source`, interpolated bilinearly; black outside
/// the source.
fn warp(image: &Image, to_source: &Affine, [height, width]: [usize; 2]) -> Image {
    let c = image.channels;
    let mut data = vec![0; width * height * c];
    for (i, pixel) in data.chunks_exact_mut(c).enumerate() {
        let [x, y] = to_source.apply([(i % width) as f64, (i / width) as f64]);
        // More than one pixel outside, no source pixel contributes; this also keeps the casts below in bounds.
        if !(x > -1.0 && y > -1.0 && x < image.width as f64 && y < image.height as f64) {
            continue;
        }
        let (left, top) = (x.floor(), y.floor());
        let (right, lower) = ((x - left) as f32, (y - top) as f32);
        let corners = [
            (0, 0, (1.0 - right) * (1.0 - lower)),
            (1, 0, right * (1.0 - lower)),
            (0, 1, (1.0 - right) * lower),
            (1, 1, right * lower),
        ];
        let mut sums = [0.0f32; 3];
        for (dx, dy, share) in corners {
            let (x, y) = (left as i64 + dx, top as i64 + dy);
            if x >= 0 && y >= 0 && (x as usize) < image.width && (y as usize) < image.height {
                let source = &image.data[(y as usize * image.width + x as usize) * c..][..c];
                sums.iter_mut().zip(source).for_each(|(sum, v)| *sum += share * f32::from(*v));
            }
        }
        pixel.iter_mut().zip(sums).for_each(|(v, sum)| *v = (sum + 0.5) as u8);
    }
    Image { width, height, channels: c, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(width: usize, height: usize, channels: usize) -> Image {
        Image::new(width, height, channels, (0..width * height * channels).map(|i| (i * 131 % 251) as u8).collect())
    }

    fn close(a: [f64; 2], b: [f64; 2]) -> bool {
        (a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9
    }

    #[test]
    fn the_corners_of_a_crop_are_those_of_simple_baseline() {
        // A box 40 wide, 100 high at (30, 20), for inputs 192 wide, 256 high: the width grows to 75, with margin 93.75.
        let tall = PersonBox { x: 30.0, y: 20.0, width: 40.0, height: 100.0 };
        let map = PersonCrop::around(tall, [256, 192]).to_image([256, 192]);
        assert!(close(map.apply([96.0, 128.0]), [50.0, 70.0]));
        assert!(close(map.apply([0.0, 0.0]), [50.0 - 46.875, 70.0 - 62.5]));
        assert!(close(map.apply([192.0, 256.0]), [50.0 + 46.875, 70.0 + 62.5]));
        // 300 wide, 100 high: the height grows to 400.
        let wide = PersonBox { x: 0.0, y: 0.0, width: 300.0, height: 100.0 };
        let map = PersonCrop::around(wide, [256, 192]).to_image([256, 192]);
        assert!(close(map.apply([0.0, 0.0]), [150.0 - 187.5, 50.0 - 250.0]));
    }

    #[test]
    fn a_quarter_turn_and_a_mirror_are_as_by_hand() {
        let crop = PersonCrop { centre: [10.0, 20.0], width: 8.0, rotation: 90.0, mirrored: false };
        let map = crop.to_image([4, 4]);
        // Two image pixels for one input pixel; right in the input is down in the image.
        assert!(close(map.apply([3.0, 2.0]), [10.0, 22.0]));
        assert!(close(map.apply([2.0, 3.0]), [8.0, 20.0]));
        let mirrored = PersonCrop { rotation: 0.0, ..crop }.mirror().to_image([4, 4]);
        assert!(close(mirrored.apply([3.0, 2.0]), [8.0, 20.0]));
        assert!(close(mirrored.apply([1.0, 3.0]), [12.0, 22.0]));
    }

    #[test]
    fn a_crop_of_the_same_size_copies_pixels_and_a_mirror_turns_their_order() {
        for channels in [1, 3] {
            let image = noise(8, 6, channels);
            let crop = PersonCrop { centre: [4.0, 3.0], width: 8.0, rotation: 0.0, mirrored: false };
            assert_eq!(crop.cut(&image, [6, 8]), image);
            assert_eq!(crop.mirror().mirror(), crop);
            let mirrored = crop.mirror().cut(&image, [6, 8]);
            for (y, x, c) in (0..6).flat_map(|y| (0..8).flat_map(move |x| (0..channels).map(move |c| (y, x, c)))) {
                let at = |image: &Image, x: usize| image.data[(y * 8 + x) * channels + c];
                // Column 8 − 0 lies outside.
                let expected = if x == 0 { 0 } else { at(&image, 8 - x) };
                assert_eq!(at(&mirrored, x), expected);
            }
        }
    }

    #[test]
    fn halfway_between_pixels_is_their_mean_and_outside_is_black() {
        let image = Image::new(2, 2, 1, vec![10, 20, 30, 41]);
        let at = |x: f64, y: f64| warp(&image, &Affine([1.0, 0.0, x, 0.0, 1.0, y]), [1, 1]).data[0];
        assert_eq!(at(0.5, 0.0), 15);
        assert_eq!(at(0.5, 0.5), 25);
        assert_eq!(at(1.0, 1.0), 41);
        assert_eq!(at(-0.5, 0.0), 5);
        assert_eq!([at(-1.0, 0.0), at(2.0, 1.0), at(f64::NAN, 0.0), at(1e300, -1e300)], [0; 4]);
    }

    #[test]
    fn boxes_are_clipped_to_the_image() {
        let box_ = |x, y, width, height| PersonBox { x, y, width, height };
        assert_eq!(box_(-5.0, 2.0, 10.0, 100.0).clipped(20, 30), Some(box_(0.0, 2.0, 5.0, 28.0)));
        assert_eq!(box_(20.0, 2.0, 10.0, 10.0).clipped(20, 30), None);
        assert_eq!(box_(3.0, 2.0, 0.0, 10.0).clipped(20, 30), None);
        assert_eq!(box_(f64::NAN, 2.0, 3.0, f64::NAN).clipped(20, 30), None);
        // Too little is left to be seen.
        for side in [0.49, 1e-3, 1e-200, 5e-324] {
            assert_eq!(box_(3.0, 2.0, side, 10.0).clipped(20, 30), None);
            assert_eq!(box_(3.0, 2.0, 10.0, side).clipped(20, 30), None);
            assert_eq!(box_(20.0 - side, 2.0, 10.0, 10.0).clipped(20, 30), None);
        }
        assert!(box_(3.0, 2.0, 0.5, 0.5).clipped(20, 30).is_some());
        // Values near the largest float.
        assert_eq!(box_(-1.0, -1.0, f64::MAX, 1e300).clipped(20, 30), Some(box_(0.0, 0.0, 20.0, 30.0)));
        assert_eq!(box_(f64::MAX, 0.0, f64::MAX, 1.0).clipped(20, 30), None);
        assert_eq!(box_(-f64::MAX, 0.0, f64::MAX, 1.0).clipped(20, 30), None);
    }

    #[test]
    fn no_box_is_too_small_or_too_large_for_a_crop() {
        let image = noise(8, 6, 3);
        let sides = [5e-324, 1e-300, 1e-200, 1e-9, 1.0, 1e9, 1e200, f64::MAX];
        for (width, height) in sides.into_iter().flat_map(|w| sides.map(|h| (w, h))) {
            for start in [0.0, 1e-300, -1e300, f64::MAX] {
                let crop = PersonCrop::around(PersonBox { x: start, y: start, width, height }, [4, 3]);
                assert_eq!(crop.cut(&image, [4, 3]).data.len(), 36);
                let (there, back) = (crop.to_image([4, 3]), crop.to_image([4, 3]).inverse());
                back.apply(there.apply([1.0, 2.0]));
            }
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_point(
            centre in prop::array::uniform2(-500.0f64..500.0), width in 0.5f64..2000.0, rotation in -180.0f64..180.0,
            mirrored: bool, point in prop::array::uniform2(-300.0f64..300.0), size in prop::array::uniform2(1usize..300),
        ) {
            let map = PersonCrop { centre, width, rotation, mirrored }.to_image(size);
            let back = map.inverse().apply(map.apply(point));
            prop_assert!((back[0] - point[0]).abs() < 1e-6 && (back[1] - point[1]).abs() < 1e-6);
            // The same scale in both directions, and a right angle between rows and columns.
            let [a, b, _, d, e, _] = map.0;
            prop_assert!((a.hypot(d) - width / size[1] as f64).abs() < 1e-9 && (b.hypot(e) - a.hypot(d)).abs() < 1e-9);
            prop_assert!((a * b + d * e).abs() < 1e-6);
        }
    }
}
