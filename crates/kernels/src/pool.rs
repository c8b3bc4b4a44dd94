//! Pooling over channels-last maps.

use dyconv_simd::{Isa, LANES, Lanes, dispatch, lanes};

use crate::geometry::taps_inside;
use crate::run::span;

/// Pixels that are summed before the sum is added to the total, which keeps long sums accurate.
const BLOCK: usize = 64;

/// Sizes of a pooling window; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Input `[H, W, C]`.
    pub input: [usize; 3],
    /// Window size in pixels.
    pub kernel: [usize; 2],
    /// Distance between adjacent windows, in pixels.
    pub stride: [usize; 2],
    /// Pixels outside the map that windows cover at the beginning of each axis (top, left); fewer than the window has.
    pub padding: [usize; 2],
    /// The same at the end of each axis (bottom, right).
    pub end_padding: [usize; 2],
}

impl PoolGeometry {
    /// Output `[H', W', C]`.
    pub fn output(&self) -> [usize; 3] {
        let padded = |a: usize| self.input[a] + self.padding[a] + self.end_padding[a];
        let side = |a: usize| (padded(a) - self.kernel[a]) / self.stride[a] + 1;
        [side(0), side(1), self.input[2]]
    }
}

/// Maximum of every window (NaN if the window has a NaN): `x` `[H, W, C]` → `y` `[H', W', C]`. Pixels of `x` and `y` are
/// `steps` values apart; see [`PixelSteps`](crate::PixelSteps).
///
/// # Panics
/// If a length does not match the geometry.
pub fn max_pool(isa: Isa, geometry: &PoolGeometry, steps: [usize; 2], x: &[f32], y: &mut [f32]) {
    let pool = &Windows::new(geometry, steps, x, y, f32::NEG_INFINITY, Divisor::None);
    dispatch!(isa, max_body(pool: &Windows<'_>, y: &mut [f32]));
}

/// Mean of every window: `x` `[H, W, C]` → `y` `[H', W', C]`. With `count_padding` the sum is divided by the window's
/// size, otherwise by the number of its pixels inside the map. Pixels of `x` and `y` are `steps` values apart; see
/// [`PixelSteps`](crate::PixelSteps).
///
/// # Panics
/// If a length does not match the geometry.
pub fn avg_pool(isa: Isa, geometry: &PoolGeometry, count_padding: bool, steps: [usize; 2], x: &[f32], y: &mut [f32]) {
    let divisor = if count_padding { Divisor::Window } else { Divisor::Inside };
    let pool = &Windows::new(geometry, steps, x, y, 0.0, divisor);
    dispatch!(isa, avg_body(pool: &Windows<'_>, y: &mut [f32]));
}

/// What the values of a window are divided by.
enum Divisor {
    None,
    /// The number of pixels of the window.
    Window,
    /// The number of its pixels inside the map.
    Inside,
}

/// The windows of a pool and its input.
struct Windows<'a> {
    geometry: &'a PoolGeometry,
    x: &'a [f32],
    x_step: usize,
    y_step: usize,
    /// What the reduction of a window starts with.
    start: f32,
    divisor: Divisor,
}

impl<'a> Windows<'a> {
    fn new(
        geometry: &'a PoolGeometry,
        steps: [usize; 2],
        x: &'a [f32],
        y: &[f32],
        start: f32,
        divisor: Divisor,
    ) -> Self {
        let channels = geometry.input[2];
        let [x_step, y_step] = steps.map(|step| if step == 0 { channels } else { step });
        assert_eq!(x.len(), span(geometry.input.iter().product(), channels, x_step), "input of the pool");
        assert_eq!(y.len(), span(geometry.output().iter().product(), channels, y_step), "output of the pool");
        Self { geometry, x, x_step, y_step, start, divisor }
    }

    /// Combines the values of every window.
    #[inline(always)]
    fn reduce<L: Lanes>(&self, l: L, y: &mut [f32], combine: impl Fn(L::V, L::V) -> L::V) {
        let g = self.geometry;
        let ([h, w, c], [_, ow, _]) = (g.input, g.output());
        for (p, out) in y.chunks_mut(self.y_step).enumerate() {
            let (oy, ox) = (p / ow, p % ow);
            let rows = taps_inside(oy, g.stride[0], g.padding[0], 1, g.kernel[0], h);
            let columns = taps_inside(ox, g.stride[1], g.padding[1], 1, g.kernel[1], w);
            let corner = (oy * g.stride[0] + rows.start - g.padding[0]) * w + ox * g.stride[1] + columns.start;
            let corner = (corner - g.padding[1]) * self.x_step;
            let divisor = match self.divisor {
                Divisor::None => 1.0,
                Divisor::Window => (g.kernel[0] * g.kernel[1]) as f32,
                Divisor::Inside => (rows.len() * columns.len()) as f32,
            };
            let factor = l.splat(1.0 / divisor);
            let (whole, rest) = out[..c].as_chunks_mut::<LANES>();
            let last = whole.len() * LANES;
            let row_step = w * self.x_step;
            for (i, to) in whole.iter_mut().enumerate() {
                let mut value = l.splat(self.start);
                for ky in 0..rows.len() {
                    for kx in 0..columns.len() {
                        let from = corner + ky * row_step + kx * self.x_step + i * LANES;
                        value = combine(value, l.load(lanes(self.x, from)));
                    }
                }
                l.store(l.mul(value, factor), to);
            }
            if !rest.is_empty() {
                let mut value = l.splat(self.start);
                for ky in 0..rows.len() {
                    for kx in 0..columns.len() {
                        let from = corner + ky * row_step + kx * self.x_step + last;
                        value = combine(value, l.load_partial(&self.x[from..][..rest.len()]));
                    }
                }
                l.store_partial(l.mul(value, factor), rest);
            }
        }
    }
}

#[inline(always)]
fn max_body<L: Lanes>(l: L, pool: &Windows<'_>, y: &mut [f32]) {
    pool.reduce(l, y, |a, b| l.maximum(a, b));
}

#[inline(always)]
fn avg_body<L: Lanes>(l: L, pool: &Windows<'_>, y: &mut [f32]) {
    pool.reduce(l, y, |a, b| l.add(a, b));
}

/// Mean over the pixels: `x` `[pixels, C]` → `y` `[C]`.
///
/// # Panics
/// If `x` is empty, or its length is not a multiple of the number of channels.
pub fn global_avg_pool(isa: Isa, x: &[f32], y: &mut [f32]) {
    assert!(!x.is_empty() && !y.is_empty() && x.len().is_multiple_of(y.len()), "a whole number of pixels");
    dispatch!(isa, mean_body(x: &[f32], y: &mut [f32]));
}

#[inline(always)]
fn mean_body<L: Lanes>(l: L, x: &[f32], y: &mut [f32]) {
    let channels = y.len();
    let factor = l.splat(1.0 / (x.len() / channels) as f32);
    y.fill(0.0);
    for block in x.chunks(BLOCK * channels) {
        for (i, to) in y.chunks_mut(LANES).enumerate() {
            let mut sum = l.splat(0.0);
            for pixel in block.chunks_exact(channels) {
                sum = l.add(sum, l.load_partial(&pixel[i * LANES..][..to.len()]));
            }
            l.store_partial(l.add(l.load_partial(to), sum), to);
        }
    }
    for to in y.chunks_mut(LANES) {
        l.store_partial(l.mul(l.load_partial(to), factor), to);
    }
}

/// The means of C channels over `pixels` pixels, from the partial sums that a convolution has written: `sums` `[parts,
/// C rounded up to 16]` → `y` `[C]`.
///
/// # Panics
/// If the length of `sums` does not match the number of channels.
pub fn mean_of_sums(isa: Isa, sums: &[f32], pixels: usize, y: &mut [f32]) {
    let step = y.len().next_multiple_of(LANES);
    assert!(step > 0 && sums.len() >= step && sums.len().is_multiple_of(step), "sums of every channel");
    dispatch!(isa, mean_of_sums_body(sums: &[f32], pixels: usize, y: &mut [f32]));
}

#[inline(always)]
fn mean_of_sums_body<L: Lanes>(l: L, sums: &[f32], pixels: usize, y: &mut [f32]) {
    let step = y.len().next_multiple_of(LANES);
    let factor = l.splat(1.0 / pixels as f32);
    for (i, to) in y.chunks_mut(LANES).enumerate() {
        let mut total = l.splat(0.0);
        for part in sums.chunks_exact(step) {
            total = l.add(total, l.load_partial(&part[i * LANES..][..LANES]));
        }
        l.store_partial(l.mul(total, factor), to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::testing::{assert_close, values};
    use proptest::prelude::*;

    #[test]
    fn mean_of_long_maps_is_exact() {
        for isa in Isa::available() {
            for (pixels, c) in [(1, 1), (64, 3), (65, 16), (12_544, 40)] {
                let x: Vec<f32> = values(pixels * c, 9).iter().map(|v| v + 1.0).collect();
                let mut y = vec![f32::NAN; c];
                global_avg_pool(isa, &x, &mut y);
                let mean = |j| (0..pixels).map(|p| f64::from(x[p * c + j])).sum::<f64>() / pixels as f64;
                assert_close(&y, &(0..c).map(mean).collect::<Vec<_>>(), 1e-6, isa.name());
            }
        }
    }

    proptest! {
        /// Windows with padding on both sides, in maps whose pixels lie apart.
        #[test]
        fn windows_agree_with_the_definitions(
            h in 1usize..8, w in 1usize..8, c in 1usize..40, kernel in [1usize..4, 1usize..4], s in 1usize..4,
            padding in [0usize..3, 0usize..3], end_padding in [0usize..3, 0usize..3], apart in [0usize..3, 0usize..3],
        ) {
            let kernel = [kernel[0].min(h), kernel[1].min(w)];
            let within = |p: [usize; 2]| [p[0].min(kernel[0] - 1), p[1].min(kernel[1] - 1)];
            let (padding, end_padding) = (within(padding), within(end_padding));
            let g = PoolGeometry { input: [h, w, c], kernel, stride: [s, s], padding, end_padding };
            let steps = apart.map(|n| if n == 0 { 0 } else { c + n });
            let [x_step, y_step] = apart.map(|n| c + n);
            let x = values((h * w - 1) * x_step + c, 3);
            let [oh, ow, _] = g.output();
            let (mut largest, mut means) = (Vec::new(), [Vec::new(), Vec::new()]);
            for (oy, ox, j) in (0..oh).flat_map(|y| (0..ow).flat_map(move |x| (0..c).map(move |j| (y, x, j)))) {
                let mut inside = Vec::new();
                for (iy, ix) in (0..kernel[0]).flat_map(|a| (0..kernel[1]).map(move |b| (oy * s + a, ox * s + b))) {
                    if (padding[0]..padding[0] + h).contains(&iy) && (padding[1]..padding[1] + w).contains(&ix) {
                        inside.push(f64::from(x[((iy - padding[0]) * w + ix - padding[1]) * x_step + j]));
                    }
                }
                let sum = inside.iter().sum::<f64>();
                largest.push(inside.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v)));
                means[0].push(sum / inside.len() as f64);
                means[1].push(sum / (kernel[0] * kernel[1]) as f64);
            }
            for isa in Isa::available() {
                let check = |run: &dyn Fn(&mut [f32]), expected: &[f64], tolerance: f64| {
                    let mut y = vec![f32::NAN; (oh * ow - 1) * y_step + c];
                    run(&mut y);
                    let dense: Vec<f32> = y.chunks(y_step).flat_map(|pixel| pixel[..c].to_vec()).collect();
                    assert_close(&dense, expected, tolerance, isa.name());
                    assert!(y.chunks(y_step).all(|pixel| pixel[c..].iter().all(|v| v.is_nan())), "nothing between");
                };
                check(&|y| max_pool(isa, &g, steps, &x, y), &largest, 0.0);
                check(&|y| avg_pool(isa, &g, false, steps, &x, y), &means[0], 1e-6);
                check(&|y| avg_pool(isa, &g, true, steps, &x, y), &means[1], 1e-6);
            }
        }
    }
}
