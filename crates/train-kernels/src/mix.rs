//! Long vectorized loops: mixing, its reverse, and the taps of depthwise kernels.

use dyconv_simd::{Isa, LANES, Lanes, dispatch, lanes, lanes_mut};

use crate::job::Shared;

/// One tile of a bank `[K, …]`: `rows` rows of `columns` weights, the first at `at`, `row_step` apart; kernels are
/// `kernel_step` apart.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub at: usize,
    pub rows: usize,
    pub columns: usize,
    pub row_step: usize,
    pub kernel_step: usize,
}

/// `to` `[rows, columns]` = Σ_k π_k · tile k.
pub(super) fn mix(isa: Isa, bank: &[f32], tile: Tile, pi: &[f32], to: &mut [f32]) {
    dispatch!(isa, mix_body(bank: &[f32], tile: Tile, pi: &[f32], to: &mut [f32]));
}

#[inline(always)]
fn mix_body<L: Lanes>(l: L, bank: &[f32], tile: Tile, pi: &[f32], to: &mut [f32]) {
    for (row, to) in to.chunks_exact_mut(tile.columns).take(tile.rows).enumerate() {
        let at = tile.at + row * tile.row_step;
        let mut i = 0;
        while i < tile.columns {
            let len = LANES.min(tile.columns - i);
            if len == LANES {
                let mut sum = l.splat(0.0);
                for (k, p) in pi.iter().enumerate() {
                    sum = l.mul_add(l.splat(*p), l.load(lanes(bank, at + k * tile.kernel_step + i)), sum);
                }
                l.store(sum, lanes_mut(to, i));
            } else {
                let mut sum = l.splat(0.0);
                for (k, p) in pi.iter().enumerate() {
                    sum = l.mul_add(l.splat(*p), l.load_partial(&bank[at + k * tile.kernel_step + i..][..len]), sum);
                }
                l.store_partial(sum, &mut to[i..i + len]);
            }
            i += len;
        }
    }
}

/// The reverse of [`mix`] for the gradient `g` `[rows, columns]` of a mixed tile: tile k of `to` (+)= π_k · g, and
/// `dpi[k]` += ⟨g, tile k⟩.
///
/// # Safety
/// No other job may touch the tiles of `to` meanwhile.
#[allow(unsafe_code, reason = "tiles of one bank gradient belong to different jobs")]
#[allow(clippy::too_many_arguments, reason = "one fused loop over three streams")]
pub(super) unsafe fn unmix(
    isa: Isa,
    bank: &[f32],
    tile: Tile,
    pi: &[f32],
    g: &[f32],
    to: Shared<'_>,
    to_at: usize,
    add: bool,
    dpi: &mut [f32],
) {
    for (row, g) in g.chunks_exact(tile.columns).take(tile.rows).enumerate() {
        for (k, (p, d)) in pi.iter().zip(dpi.iter_mut()).enumerate() {
            let at = row * tile.row_step + k * tile.kernel_step;
            // SAFETY: this row belongs to the tile, which the caller keeps to one job.
            let to = unsafe { to.slice(to_at + at, tile.columns) };
            let from = &bank[tile.at + at..][..tile.columns];
            let p = *p;
            dispatch!(isa, unmix_body(from: &[f32], p: f32, g: &[f32], to: &mut [f32], add: bool, d: &mut f32));
        }
    }
}

#[inline(always)]
fn unmix_body<L: Lanes>(l: L, bank: &[f32], pi: f32, g: &[f32], to: &mut [f32], add: bool, dpi: &mut f32) {
    let pi = l.splat(pi);
    let mut dot = l.splat(0.0);
    let whole = g.len() / LANES * LANES;
    let mut i = 0;
    while i < whole {
        let v = l.load(lanes(g, i));
        dot = l.mul_add(v, l.load(lanes(bank, i)), dot);
        let sum = if add { l.mul_add(pi, v, l.load(lanes(to, i))) } else { l.mul(pi, v) };
        l.store(sum, lanes_mut(to, i));
        i += LANES;
    }
    if whole < g.len() {
        let v = l.load_partial(&g[whole..]);
        dot = l.mul_add(v, l.load_partial(&bank[whole..]), dot);
        let sum = if add { l.mul_add(pi, v, l.load_partial(&to[whole..])) } else { l.mul(pi, v) };
        l.store_partial(sum, &mut to[whole..]);
    }
    *dpi += l.sum(dot);
}

/// Adds ⟨back, columns⟩ to `dot` and scales `back` by `p`. `size` is the number of rows, the distance between them, and
/// the number of values used in each.
pub(super) fn weigh(isa: Isa, back: &mut [f32], columns: &[f32], size: [usize; 3], p: f32, dot: &mut f32) {
    dispatch!(isa, weigh_body(back: &mut [f32], columns: &[f32], size: [usize; 3], p: f32, dot: &mut f32));
}

#[inline(always)]
fn weigh_body<L>(_: L, back: &mut [f32], columns: &[f32], size: [usize; 3], p: f32, dot: &mut f32) {
    let [rows, step, each] = size;
    let mut total = 0.0f64;
    let mut sums = [0.0f32; LANES];
    for row in 0..rows {
        let (back, columns) = (&mut back[row * step..][..each], &columns[row * step..][..each]);
        for (back, columns) in back.chunks_mut(LANES).zip(columns.chunks(LANES)) {
            for ((b, c), sum) in back.iter_mut().zip(columns).zip(&mut sums) {
                *sum += *b * c;
                *b *= p;
            }
        }
        if row % 64 == 63 || row + 1 == rows {
            total += sums.iter().map(|s| f64::from(*s)).sum::<f64>();
            sums = [0.0; LANES];
        }
    }
    *dot += total as f32;
}

/// `to[i]` = Σ_t weights[t] · from[offsets[t] + i], for `len` values, a multiple of [`LANES`].
pub(super) fn taps(isa: Isa, from: &[f32], offsets: &[usize], weights: &[f32], to: &mut [f32]) {
    dispatch!(isa, taps_body(from: &[f32], offsets: &[usize], weights: &[f32], to: &mut [f32]));
}

#[inline(always)]
fn taps_body<L: Lanes>(l: L, from: &[f32], offsets: &[usize], weights: &[f32], to: &mut [f32]) {
    match offsets.len() {
        9 => taps_of::<L, 9>(l, from, offsets, weights, to),
        25 => taps_of::<L, 25>(l, from, offsets, weights, to),
        _ => taps_any(l, from, offsets, weights, to),
    }
}

#[inline(always)]
fn taps_of<L: Lanes, const T: usize>(l: L, from: &[f32], offsets: &[usize], weights: &[f32], to: &mut [f32]) {
    let offsets: &[usize; T] = offsets.try_into().expect("as many offsets as taps");
    let weights: &[f32; T] = weights.try_into().expect("as many weights as taps");
    taps_any(l, from, offsets, weights, to);
}

#[inline(always)]
fn taps_any<L: Lanes>(l: L, from: &[f32], offsets: &[usize], weights: &[f32], to: &mut [f32]) {
    const WIDE: usize = 4 * LANES;
    let wide = to.len() / WIDE * WIDE;
    let mut i = 0;
    while i < wide {
        let mut sum = [l.splat(0.0); 4];
        for (o, w) in offsets.iter().zip(weights) {
            let from: &[f32; WIDE] = from[o + i..o + i + WIDE].try_into().expect("four times the lanes");
            let w = l.splat(*w);
            for (j, sum) in sum.iter_mut().enumerate() {
                *sum = l.mul_add(w, l.load(lanes(from, j * LANES)), *sum);
            }
        }
        let to: &mut [f32; WIDE] = (&mut to[i..i + WIDE]).try_into().expect("four times the lanes");
        for (j, sum) in sum.into_iter().enumerate() {
            l.store(sum, lanes_mut(to, j * LANES));
        }
        i += WIDE;
    }
    while i < to.len() {
        let mut sum = l.splat(0.0);
        for (o, w) in offsets.iter().zip(weights) {
            sum = l.mul_add(l.splat(*w), l.load(lanes(from, o + i)), sum);
        }
        l.store(sum, lanes_mut(to, i));
        i += LANES;
    }
}

/// `to[t]` = Σ_i g[i] · from[offsets[t] + i]; the length of `g` must be a multiple of [`LANES`].
pub(super) fn tap_dots(isa: Isa, from: &[f32], offsets: &[usize], g: &[f32], to: &mut [f32]) {
    dispatch!(isa, tap_dots_body(from: &[f32], offsets: &[usize], g: &[f32], to: &mut [f32]));
}

#[inline(always)]
fn tap_dots_body<L: Lanes>(l: L, from: &[f32], offsets: &[usize], g: &[f32], to: &mut [f32]) {
    let mut t = 0;
    while t < offsets.len() {
        let n = match offsets.len() - t {
            9.. => dots_of::<L, 9>(l, from, &offsets[t..], g, &mut to[t..]),
            7.. => dots_of::<L, 7>(l, from, &offsets[t..], g, &mut to[t..]),
            3.. => dots_of::<L, 3>(l, from, &offsets[t..], g, &mut to[t..]),
            _ => dots_of::<L, 1>(l, from, &offsets[t..], g, &mut to[t..]),
        };
        t += n;
    }
}

#[inline(always)]
fn dots_of<L: Lanes, const T: usize>(l: L, from: &[f32], offsets: &[usize], g: &[f32], to: &mut [f32]) -> usize {
    let offsets: &[usize; T] = offsets[..T].try_into().expect("as many offsets as taps");
    let mut sums = [l.splat(0.0); T];
    let mut i = 0;
    while i < g.len() {
        let v = l.load(lanes(g, i));
        for t in 0..T {
            sums[t] = l.mul_add(v, l.load(lanes(from, offsets[t] + i)), sums[t]);
        }
        i += LANES;
    }
    for t in 0..T {
        to[t] = l.sum(sums[t]);
    }
    T
}
