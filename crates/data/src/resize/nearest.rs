//! The nearest pixel.

use super::Cut;
use crate::image::{Image, Rect};

/// Positions up to this one are summed as Pillow sums them.
const SUMMED: usize = 1 << 20;

/// Resizes the part `rect` of an image as if it were the whole, and keeps a part of that.
pub(super) fn resize(image: &Image, rect: Rect, x: Cut, y: Cut) -> Image {
    let columns = sources(rect.width, x);
    let channels = image.channels;
    let mut data = Vec::with_capacity(x.len * y.len * channels);
    for row in sources(rect.height, y) {
        let line = &image.data[((rect.top + row) * image.width + rect.left) * channels..][..rect.width * channels];
        for column in &columns {
            data.extend_from_slice(&line[column * channels..][..channels]);
        }
    }
    Image { width: x.len, height: y.len, channels, data }
}

/// The source pixel of each pixel that is kept: the one in which its centre lies.
///
/// Pillow adds the width of a pixel again and again, and its rounding errors decide where a centre lies between two
/// pixels. So the same is done here, unless the line is so long that it would take long.
fn sources(source: usize, cut: Cut) -> Vec<usize> {
    let scale = source as f64 / cut.whole as f64;
    let mut at = scale * 0.5;
    if cut.start <= SUMMED {
        (0..cut.start).for_each(|_| at += scale);
    } else {
        at += scale * cut.start as f64;
    }
    (0..cut.len)
        .map(|_| {
            let pixel = (at as usize).min(source - 1);
            at += scale;
            pixel
        })
        .collect()
}
