//! Shear, translation and rotation: every pixel of the result takes the nearest source pixel, or black outside.

use crate::image::Image;

/// Maps a point of the result to one of the source: `x = m[0]·x' + m[1]·y' + m[2]`, `y = m[3]·x' + m[4]·y' + m[5]`.
pub(super) type Matrix = [f64; 6];

pub(super) fn shear_x(by: f64) -> Matrix {
    [1.0, by, 0.0, 0.0, 1.0, 0.0]
}

pub(super) fn shear_y(by: f64) -> Matrix {
    [1.0, 0.0, 0.0, by, 1.0, 0.0]
}

/// Translates right and down by whole pixels.
pub(super) fn translate(x: i64, y: i64) -> Matrix {
    [1.0, 0.0, -x as f64, 0.0, 1.0, -y as f64]
}

/// Rotates anticlockwise around the centre of an image.
pub(super) fn rotate(degrees: f64, image: &Image) -> Matrix {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]
}

/// Applies a matrix to the centres of the pixels. Coordinates have 16 fractional bits, as in Pillow.
pub(super) fn transform(image: &Image, m: Matrix) -> Image {
    let fixed = |v: f64| (v * 65536.0 + 0.5).floor() as i64;
    let m = [m[0], m[1], m[2] + 0.5 * (m[0] + m[1]), m[3], m[4], m[5] + 0.5 * (m[3] + m[4])].map(fixed);
    let (w, h, c) = (image.width, image.height, image.channels);
    let mut data = vec![0; image.data.len()];
    for (i, pixel) in data.chunks_exact_mut(c).enumerate() {
        let (x, y) = ((i % w) as i64, (i / w) as i64);
        let from = [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]].map(|v| usize::try_from(v >> 16));
        if let [Ok(x), Ok(y)] = from
            && x < w
            && y < h
        {
            pixel.copy_from_slice(&image.data[(y * w + x) * c..][..c]);
        }
    }
    Image { data, ..*image }
}
