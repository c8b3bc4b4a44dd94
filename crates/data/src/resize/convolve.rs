//! Filters with negative weights, bit by bit as Pillow computes them up to version 12.
//!
//! Rows are resized first, then columns, and sums are rounded and clipped to bytes in between. Where weights are
//! negative, sums leave 0..=255 and errors of rounding grow, so another order or other weights would give other pixels.
//! (Pillow 13 has another order for some sizes.)

use std::ops::Range;

use super::Cut;
use crate::image::{Image, Rect};

/// Bits of a weight after the point. With a byte and the sign they leave room for sums of up to twice 255.
const BITS: u32 = 22;

/// Filters of this kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Filter {
    /// Cubic convolution with a = −0.5, after Keys, Catmull and Rom.
    Cubic,
    /// A sinc under a sinc of three zero crossings.
    Lanczos,
}

impl Filter {
    /// Beyond this distance all is zero.
    fn radius(self) -> f64 {
        match self {
            Self::Cubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Cubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Cubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Self::Cubic | Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// Resizes the part `rect` of an image as if it were the whole, and keeps a part of that.
pub(super) fn resize(image: &Image, rect: Rect, x: Cut, y: Cut, filter: Filter) -> Image {
    let (across, down) = (Taps::of(rect.width, x, filter), Taps::of(rect.height, y, filter));
    let (c, rows) = (image.channels, down.reach());
    let mut wide = Vec::with_capacity(rows.len() * x.len * c);
    for row in rows.clone() {
        let line = &image.data[((rect.top + row) * image.width + rect.left) * c..][..rect.width * c];
        match c {
            3 => across.row::<3>(line, &mut wide),
            _ => across.row::<1>(line, &mut wide),
        }
    }
    let line = x.len * c;
    let mut data = Vec::with_capacity(y.len * line);
    let mut sums = vec![0; line];
    for (first, weights) in down.each() {
        sums.fill(0);
        for (row, weight) in wide[(first - rows.start) * line..].chunks_exact(line).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += i32::from(*v) * weight);
        }
        data.extend(sums.iter().map(|sum| byte(*sum)));
    }
    Image { width: x.len, height: y.len, channels: c, data }
}

fn byte(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The source pixels of each pixel that is kept, with their weights.
struct Taps {
    /// First source pixel, and where its weights lie.
    spans: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Taps {
    fn of(source: usize, cut: Cut, filter: Filter) -> Self {
        let scale = source as f64 / cut.whole as f64;
        let stretch = scale.max(1.0);
        let (radius, shrink) = (filter.radius() * stretch, 1.0 / stretch);
        let mut taps = Self { spans: Vec::with_capacity(cut.len), weights: Vec::new() };
        let mut exact = Vec::new();
        for i in cut.start..cut.start + cut.len {
            let centre = (i as f64 + 0.5) * scale;
            // A cast of a negative number is 0.
            let first = ((centre - radius + 0.5) as usize).min(source - 1);
            let last = ((centre + radius + 0.5) as usize).clamp(first + 1, source);
            exact.clear();
            exact.extend((first..last).map(|x| filter.weight((x as f64 - centre + 0.5) * shrink)));
            let total: f64 = exact.iter().sum();
            let start = taps.weights.len();
            taps.weights.extend(exact.iter().map(|w| (w / total * f64::from(1 << BITS)).round() as i32));
            taps.spans.push((first, start..taps.weights.len()));
        }
        taps
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans.iter().map(|(first, weights)| (*first, &self.weights[weights.clone()]))
    }

    /// All source pixels that are read.
    fn reach(&self) -> Range<usize> {
        let first = self.spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
        first..self.spans.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(0)
    }

    /// Appends the resized row of `C` channels.
    fn row<const C: usize>(&self, line: &[u8], out: &mut Vec<u8>) {
        for (first, weights) in self.each() {
            let mut sums = [0; C];
            for (pixel, weight) in line[first * C..].chunks_exact(C).zip(weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += i32::from(*v) * weight);
            }
            out.extend(sums.map(byte));
        }
    }
}
