//! Pooling over channels-last maps.

use dyconv_simd::{Isa, LANES, Lanes, dispatch};

use crate::geometry::taps_inside;

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
    /// Border that is never the maximum, in pixels; at most half the window.
    pub padding: [usize; 2],
}

impl PoolGeometry {
    /// Output `[H', W', C]`.
    pub fn output(&self) -> [usize; 3] {
        let side = |a: usize| (self.input[a] + 2 * self.padding[a] - self.kernel[a]) / self.stride[a] + 1;
        [side(0), side(1), self.input[2]]
    }
}

/// Maximum of every window (NaN if the window has a NaN): `x` `[H, W, C]` → `y` `[H', W', C]`.
///
/// # Panics
/// If a length does not match the geometry.
pub fn max_pool(isa: Isa, geometry: &PoolGeometry, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), geometry.input.iter().product::<usize>(), "input of the pool");
    assert_eq!(y.len(), geometry.output().iter().product::<usize>(), "output of the pool");
    dispatch!(isa, max_body(geometry: &PoolGeometry, x: &[f32], y: &mut [f32]));
}

#[inline(always)]
fn max_body<L: Lanes>(l: L, g: &PoolGeometry, x: &[f32], y: &mut [f32]) {
    let ([h, w, c], [_, ow, _]) = (g.input, g.output());
    for (p, out) in y.chunks_exact_mut(c).enumerate() {
        let (oy, ox) = (p / ow, p % ow);
        let rows = taps_inside(oy, g.stride[0], g.padding[0], 1, g.kernel[0], h);
        let columns = taps_inside(ox, g.stride[1], g.padding[1], 1, g.kernel[1], w);
        for (i, to) in out.chunks_mut(LANES).enumerate() {
            let mut best = l.splat(f32::NEG_INFINITY);
            for ky in rows.clone() {
                for kx in columns.clone() {
                    let pixel = (oy * g.stride[0] + ky - g.padding[0]) * w + ox * g.stride[1] + kx - g.padding[1];
                    best = l.maximum(best, l.load_partial(&x[pixel * c + i * LANES..][..to.len()]));
                }
            }
            l.store_partial(best, to);
        }
    }
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
        #[test]
        fn max_is_the_largest_in_the_window(
            h in 1usize..8, w in 1usize..8, c in 1usize..20, kh in 1usize..4, kw in 1usize..4,
            s in 1usize..4, pad in any::<bool>(),
        ) {
            let (kh, kw) = (kh.min(h), kw.min(w));
            let padding = if pad { [kh / 2, kw / 2] } else { [0, 0] };
            let g = PoolGeometry { input: [h, w, c], kernel: [kh, kw], stride: [s, s], padding };
            let x = values(h * w * c, 3);
            let [oh, ow, _] = g.output();
            let mut expected = Vec::new();
            for (oy, ox, j) in (0..oh).flat_map(|y| (0..ow).flat_map(move |x| (0..c).map(move |j| (y, x, j)))) {
                let mut best = f64::NEG_INFINITY;
                for (iy, ix) in (0..kh).flat_map(|a| (0..kw).map(move |b| (oy * s + a, ox * s + b))) {
                    if (padding[0]..padding[0] + h).contains(&iy) && (padding[1]..padding[1] + w).contains(&ix) {
                        best = best.max(f64::from(x[((iy - padding[0]) * w + ix - padding[1]) * c + j]));
                    }
                }
                expected.push(best);
            }
            for isa in Isa::available() {
                let mut y = vec![f32::NAN; oh * ow * c];
                max_pool(isa, &g, &x, &mut y);
                assert_close(&y, &expected, 0.0, isa.name());
            }
        }
    }
}
