//! The innermost loop: a few output pixels times a panel one to three vectors wide, all sums in registers.
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the convolution has checked")]

use crate::activation::{Activation, finish};
use crate::geometry::Span;
use crate::lanes::{LANES, Lanes};

/// Most pixels of a tile on any instruction set.
pub(super) const MAX_ROWS: usize = 14;

/// Bytes of coming weights that are asked for while one value of every pixel is multiplied.
const AHEAD: usize = 128;

/// What all tiles of a panel share.
pub(super) struct Panel<'a> {
    /// Where each segment starts, in values from the pixel's first.
    pub(super) segments: &'a [usize],
    /// Values per segment.
    pub(super) segment_len: usize,
    /// Weights `[segments · segment_len, N, 16]`.
    pub(super) weights: *const f32,
    /// Bias of the N·16 output channels, padded.
    pub(super) bias: [[f32; LANES]; 3],
    pub(super) activation: Option<Activation>,
    /// Values from one output pixel to the next.
    pub(super) out_step: usize,
    /// Output channels of the last vector.
    pub(super) last: usize,
}

/// Where a tile reads and writes.
pub(super) struct Place {
    /// The first input value of every pixel.
    pub(super) starts: [*const f32; MAX_ROWS],
    /// The first output value.
    pub(super) y: *mut f32,
    /// The same place of the residual, or null.
    pub(super) residual: *const f32,
    /// N·16 sums over the pixels, or null.
    pub(super) sums: *mut f32,
    /// Whether the sums begin here.
    pub(super) first: bool,
}

/// Computes a tile of `rows` pixels.
///
/// # Safety
/// For every pixel, segment and value: `starts[pixel] + segment + value` is readable; the weights are; for every pixel
/// `y` (and `residual`) + pixel · `out_step` are valid for (N - 1) · 16 + `last` values; `sums` for N · 16 values.
#[inline(always)]
pub(super) unsafe fn run_tile<L: Lanes, const N: usize>(
    l: L,
    rows: usize,
    panel: &Panel<'_>,
    place: &Place,
    ahead: &mut Span,
) {
    macro_rules! arms {
        ($($rows:literal)*) => {
            match rows {
                // SAFETY: by the caller's promise.
                $($rows if $rows <= L::TILE_ROWS[N - 1] => unsafe { run::<L, N, $rows>(l, panel, place, ahead) },)*
                _ => unreachable!("a tile of {rows} pixels"),
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// # Safety
/// As [`run_tile`].
#[inline(always)]
unsafe fn run<L: Lanes, const N: usize, const M: usize>(l: L, panel: &Panel<'_>, place: &Place, ahead: &mut Span) {
    let mut sums = [[l.splat(0.0); N]; M];
    for sums in &mut sums {
        for (sum, bias) in sums.iter_mut().zip(&panel.bias) {
            *sum = l.load(bias);
        }
    }
    let mut w = panel.weights;
    // SAFETY: the pointers stay in the ranges that the caller promises; prefetching may point anywhere.
    unsafe {
        for segment in panel.segments {
            let mut x = [std::ptr::null::<f32>(); M];
            for (x, start) in x.iter_mut().zip(&place.starts) {
                *x = start.wrapping_add(*segment);
            }
            // Where nothing is left to ask for, the last place is asked for again and again, which costs nothing.
            let step = if ahead.len() > 0 { AHEAD } else { 0 };
            let mut pf = ahead.take(AHEAD * panel.segment_len);
            for c in 0..panel.segment_len {
                let mut weights = [l.splat(0.0); N];
                for (j, v) in weights.iter_mut().enumerate() {
                    *v = l.read(w.wrapping_add(j * LANES));
                }
                w = w.wrapping_add(N * LANES);
                l.prefetch(pf);
                l.prefetch(pf.wrapping_add(AHEAD / 2));
                pf = pf.wrapping_add(step);
                for (sums, x) in sums.iter_mut().zip(x) {
                    let v = l.splat(x.wrapping_add(c).read_unaligned());
                    for (sum, w) in sums.iter_mut().zip(weights) {
                        *sum = l.mul_add(v, w, *sum);
                    }
                }
            }
        }
        if !place.residual.is_null() {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    let from = place.residual.wrapping_add(m * panel.out_step + j * LANES);
                    let n = if j + 1 < N { LANES } else { panel.last };
                    *sum = l.add(*sum, l.read_partial(from, n));
                }
            }
        }
        let sums = finish(l, panel.activation, sums);
        for (m, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let to = place.y.wrapping_add(m * panel.out_step + j * LANES);
                if j + 1 < N || panel.last == LANES {
                    l.write(*sum, to);
                } else {
                    l.write_partial(*sum, to, panel.last);
                }
            }
        }
        if !place.sums.is_null() {
            for j in 0..N {
                let mut total = sums[0][j];
                for sums in &sums[1..] {
                    total = l.add(total, sums[j]);
                }
                let to = place.sums.wrapping_add(j * LANES);
                l.write(if place.first { total } else { l.add(l.read(to), total) }, to);
            }
        }
    }
}
