//! Prepares the input of a convolution that multiplies bf16: rounded to words of two adjacent channels, and padded.
//!
//! A pixel of C channels becomes ⌈C/2⌉ words; if C is odd, the last half-word is zero.
#![allow(unsafe_code, reason = "threads write rows of one map, through a pointer")]

use dyconv_simd::{LANES, Lanes, dispatch_bf16};

use super::pad::Padded;
use crate::exec::Exec;
use crate::threads::share;

/// Converts a feature map `[H, W, C]` to a padded one of ⌈C/2⌉ words.
struct Job<'a> {
    input: Padded,
    /// A factor per channel, or empty.
    scale: &'a [f32],
    x: &'a [f32],
    to: *mut f32,
    parts: usize,
}

// SAFETY: every row belongs to one part, which alone writes it.
unsafe impl Sync for Job<'_> {}

/// Multiplies by the factors, if any, then rounds and pads. The words are stored as the bits of the f32 values of `to`.
///
/// # Panics
/// If a length does not match.
pub(super) fn round_map(exec: Exec<'_>, input: Padded, scale: &[f32], x: &[f32], to: &mut [f32]) {
    let Padded { map: [h, w, c], step, whole, .. } = input;
    assert_eq!(x.len(), (h * w - 1) * step + c, "a map [H, W, C]");
    assert_eq!(to.len(), whole[0] * whole[1] * c.div_ceil(2), "a padded map of words");
    assert!(scale.is_empty() || scale.len() == c, "one factor per channel or none");
    let parts = exec.pool.threads();
    let job = &Job { input, scale, x, to: to.as_mut_ptr(), parts };
    exec.pool.run(parts, &|part| dispatch_bf16!(exec.isa, body(job: &Job<'_>, part: usize)));
}

#[inline(always)]
fn body<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    let Padded { map: [h, w, c], step, begin: [top, left], whole } = job.input;
    let words = c.div_ceil(2);
    let row = whole[1] * words;
    for y in share(whole[0], part, job.parts) {
        // SAFETY: row `y` lies inside the padded map, whose length was checked, and no other part has it.
        let to = unsafe { std::slice::from_raw_parts_mut(job.to.add(y * row), row) };
        let Some(y) = y.checked_sub(top).filter(|y| *y < h) else {
            to.fill(0.0);
            continue;
        };
        let from = &job.x[y * w * step..][..(w - 1) * step + c];
        to[..left * words].fill(0.0);
        to[(left + w) * words..].fill(0.0);
        let to = &mut to[left * words..];
        if c.is_multiple_of(2) && step == c && job.scale.is_empty() {
            round(l, from, &[], to);
        } else {
            for (i, from) in from.chunks(step).enumerate() {
                round(l, &from[..c], job.scale, &mut to[i * words..]);
            }
        }
    }
}

/// Rounds values, multiplied by the factors if there are any, to half as many words, rounded up. Writes up to seven
/// zeros after them if there is room, since whole vectors are faster to write.
#[inline(always)]
fn round<L: Lanes>(l: L, from: &[f32], factors: &[f32], to: &mut [f32]) {
    assert!(to.len() >= from.len().div_ceil(2), "room for half as many words");
    assert!(factors.is_empty() || factors.len() == from.len(), "a factor per value");
    let (len, room, scaled) = (from.len(), to.len(), !factors.is_empty());
    let (from, factors, to) = (from.as_ptr(), factors.as_ptr(), to.as_mut_ptr().cast::<u32>());
    // SAFETY: sixteen values from `i` on, or those that are left, lie inside `from` and `factors`, and their words in `to`.
    unsafe {
        for i in (0..len / LANES).map(|i| i * LANES) {
            let mut v = l.read(from.add(i));
            if scaled {
                v = l.mul(v, l.read(factors.add(i)));
            }
            l.write_bf16(v, to.add(i / 2), LANES / 2);
        }
        let (done, rest) = (len / LANES * LANES, len % LANES);
        if rest > 0 {
            let mut v = l.read_partial(from.add(done), rest);
            if scaled {
                v = l.mul(v, l.read_partial(factors.add(done), rest));
            }
            if room - done / 2 >= LANES / 2 {
                l.write_bf16(v, to.add(done / 2), LANES / 2);
            } else {
                l.write_bf16(v, to.add(done / 2), rest.div_ceil(2));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, Pool};
    use dyconv_simd::bf16;
    use dyconv_simd::testing::values;

    #[test]
    fn rounds_scales_and_pads() {
        for (input, padding, scaled) in [
            ([3, 5, 3], [1, 2], false),
            ([4, 3, 32], [0, 0], false),
            ([2, 7, 18], [0, 1], false),
            ([3, 2, 37], [0, 0], true),
            ([1, 1, 1], [3, 0], false),
        ] {
            let ([h, w, c], [top, left]) = (input, padding);
            let (x, factors) = (values(h * w * c, 1), values(c, 2));
            let scale = if scaled { &factors[..] } else { &[] };
            let words = c.div_ceil(2);
            let value = |y: usize, px: usize, c: usize| x[(y * w + px) * input[2] + c] * scale.get(c).unwrap_or(&1.0);
            let mut expected = Vec::new();
            for y in 0..h + 2 * top {
                for px in 0..w + 2 * left {
                    let inside = (top..top + h).contains(&y) && (left..left + w).contains(&px);
                    let half = |i: usize| if inside && i < c { bf16(value(y - top, px - left, i)) } else { 0 };
                    expected.extend((0..words).map(|i| half(2 * i) | half(2 * i + 1) << 16));
                }
            }
            for (isa, threads) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 2)]) {
                let mut to = vec![f32::NAN; expected.len()];
                let map = Padded { map: input, step: c, begin: padding, whole: [h + 2 * top, w + 2 * left] };
                round_map(Exec { isa, pool: &Pool::new(threads) }, map, scale, &x, &mut to);
                assert_eq!(to.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected, "{} {input:?}", isa.name());
            }
        }
    }
}
