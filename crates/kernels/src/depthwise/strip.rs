//! The innermost loop: up to eight adjacent outputs of sixteen channels.
//!
//! Only the first two and the last two outputs of a strip may lack columns of taps. Their positions are compile-time
//! constants, so all other outputs are summed without a check.
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the convolution has checked")]

use dyconv_simd::{LANES, Lanes};

use crate::activation::{ActivateRows, Activation, finish};

/// Maximum number of outputs of a strip where there are many registers, and where there are few.
pub(super) const MAX: usize = 8;
pub(super) const SHORT: usize = 6;

/// Outputs at each end of a strip that may lack taps.
pub(super) const ENDS: usize = 2;

/// Adjacent outputs with the same rows of taps.
pub(super) struct Strip {
    /// The input of the first output under the first column of taps; may be outside the map.
    pub(super) x: *const f32,
    /// Distances in values from one tap to the tap below, and to the tap on its right.
    pub(super) row: usize,
    pub(super) column: usize,
    /// Distance in values from the input of one output to that of the next.
    pub(super) step: usize,
    /// The weights of the first tap.
    pub(super) weights: *const f32,
    /// Distance in values from one row of weights to the next.
    pub(super) weight_row: usize,
    /// Number of rows of taps inside the map, and number of all columns.
    pub(super) taps: [usize; 2],
    /// Columns of taps that the first [`ENDS`] outputs lack on the left.
    pub(super) left: [usize; ENDS],
    /// Columns of taps that the last [`ENDS`] outputs lack on the right, starting with the last output.
    pub(super) right: [usize; ENDS],
    /// Sixteen values.
    pub(super) bias: *const f32,
    pub(super) activation: Option<Activation>,
    /// For the first output, or null; distance in values from one output to the next.
    pub(super) residual: *const f32,
    pub(super) residual_step: usize,
    /// The first output.
    pub(super) y: *mut f32,
    /// Distance in values from one output to the next.
    pub(super) out_step: usize,
    /// Number of channels that are not padding.
    pub(super) lanes: usize,
}

/// Computes `n` outputs; returns their sum.
///
/// # Safety
/// For all of the `n` outputs and all taps that they do not lack the first `lanes` channels are readable at their places,
/// as are sixteen weights and the bias; `y` (and `residual`) are valid for `lanes` values of every output.
#[inline(always)]
pub(super) unsafe fn run_strip<L: Lanes>(l: L, strip: &Strip, n: usize) -> L::V {
    macro_rules! arms {
        ($full:literal, $taps:literal: $($n:literal)*) => {
            match n {
                // SAFETY: by the caller's promise.
                $($n if $n <= SHORT || L::TILE_ROWS[0] >= MAX => unsafe { run::<L, $n, $taps, $full>(l, strip) },)*
                _ => unreachable!("a strip of {n} outputs"),
            }
        };
    }
    match (strip.lanes == LANES, strip.taps[1]) {
        (true, 3) => arms!(true, 3: 1 2 3 4 5 6 7 8),
        (true, 5) => arms!(true, 5: 1 2 3 4 5 6 7 8),
        (true, _) => arms!(true, 0: 1 2 3 4 5 6 7 8),
        (false, _) => arms!(false, 0: 1 2 3 4 5 6 7 8),
    }
}

/// Computes a strip with `TAPS` columns of taps; zero means that the number is known only at run time.
///
/// # Safety
/// As [`run_strip`].
#[inline(always)]
unsafe fn run<L: Lanes, const N: usize, const TAPS: usize, const FULL: bool>(l: L, strip: &Strip) -> L::V {
    let columns = if TAPS == 0 { strip.taps[1] } else { TAPS };
    // SAFETY: tap and output are among those that the caller promises.
    let sums = unsafe {
        let mut sums = [l.read(strip.bias); N];
        for ky in 0..strip.taps[0] {
            let (x, weights) =
                (strip.x.wrapping_add(ky * strip.row), strip.weights.wrapping_add(ky * strip.weight_row));
            for kx in 0..columns {
                let weight = l.read(weights.wrapping_add(kx * LANES));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let from_end = N - 1 - i;
                    if (i < ENDS && kx < strip.left[i]) || (from_end < ENDS && kx + strip.right[from_end] >= columns) {
                        continue;
                    }
                    let from = x.wrapping_add(kx * strip.column + i * strip.step);
                    let v = if FULL { l.read(from) } else { l.read_partial(from, strip.lanes) };
                    *sum = l.mul_add(v, weight, *sum);
                }
            }
        }
        if !strip.residual.is_null() {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = l.add(*sum, l.read_partial(strip.residual.wrapping_add(i * strip.residual_step), strip.lanes));
            }
        }
        let [sums] = finish(l, strip.activation, [sums]);
        for (i, sum) in sums.iter().enumerate() {
            let to = strip.y.wrapping_add(i * strip.out_step);
            if FULL {
                l.write(*sum, to);
            } else {
                l.write_partial(*sum, to, strip.lanes);
            }
        }
        if let Some(activation) = strip.activation.filter(|a| !a.is_short()) {
            let mut total = [0.0; LANES];
            let (y, step, lanes) = (strip.y, strip.out_step, strip.lanes);
            let sums = total.as_mut_ptr();
            l.outlined(ActivateRows { activation, y, rows: N, step, lanes, sums, first: true });
            return l.load(&total);
        }
        sums
    };
    let mut total = sums[0];
    for sum in &sums[1..] {
        total = l.add(total, *sum);
    }
    total
}
