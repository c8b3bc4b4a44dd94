//! The innermost loop: a few output pixels times a panel one to three vectors wide, with all sums in registers.
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the convolution has checked")]

use dyconv_simd::{LANES, Lanes, Part};

use crate::activation::{ActivateRows, Activation, finish};
use crate::prefetch::PrefetchRange;

/// Maximum number of pixels of a tile on any instruction set.
pub(super) const MAX_ROWS: usize = 14;

/// Bytes of upcoming weights that are prefetched while one value of every pixel is multiplied; doubled for a word of
/// two.
const AHEAD: usize = 128;

/// A run of kernel values that are contiguous in the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Offset of the first value from the first value of the pixel.
    pub(super) start: usize,
    pub(super) len: usize,
}

/// State shared by all tiles of a block of a panel.
pub(super) struct Panel<'a> {
    pub(super) segments: &'a [Segment],
    /// Whether the sums start with this block; otherwise the output holds the partial sums of the block before.
    pub(super) begins: bool,
    /// Whether the sums are complete after this block.
    pub(super) ends: bool,
    /// Weights `[values of all segments, N, 16]`.
    pub(super) weights: *const f32,
    /// Bias of the N·16 output channels, zero-padded.
    pub(super) bias: [[f32; LANES]; 3],
    pub(super) activation: Option<Activation>,
    /// Distances in values from one output pixel to the next, and from one pixel of the residual to the next.
    pub(super) out_step: usize,
    pub(super) residual_step: usize,
    /// Number of output channels in the last vector.
    pub(super) last: usize,
}

/// Where a tile reads and writes.
pub(super) struct Place {
    /// The first input value of each pixel.
    pub(super) starts: [*const f32; MAX_ROWS],
    /// The first output value.
    pub(super) y: *mut f32,
    /// The corresponding place in the residual, or null.
    pub(super) residual: *const f32,
    /// N·16 sums over the pixels, or null.
    pub(super) sums: *mut f32,
    /// Whether this tile overwrites the sums instead of adding to them.
    pub(super) first: bool,
}

/// Computes a tile of `rows` pixels. If PAIRS, a value of input and weights is a word of two bf16, whose products are
/// added.
///
/// # Safety
/// For every pixel, segment and value: `starts[pixel] + segment + value` is readable; the weights are; for every pixel
/// `y` + pixel · `out_step` and `residual` + pixel · `residual_step` are valid for (N - 1) · 16 + `last` values; `sums`
/// for N · 16 values.
#[inline(always)]
pub(super) unsafe fn run_tile<L: Lanes, const N: usize, const PAIRS: bool>(
    l: L,
    rows: usize,
    panel: &Panel<'_>,
    place: &Place,
    prefetch: &mut PrefetchRange,
) {
    macro_rules! arms {
        ($($rows:literal)*) => {
            match rows {
                // SAFETY: by the caller's promise.
                $($rows if const { $rows <= L::TILE_ROWS[N - 1] } => unsafe {
                    l.outlined(Tile::<N, $rows, PAIRS>::new(panel, place, prefetch));
                },)*
                _ => unreachable!("a tile of {rows} pixels"),
            }
        };
    }
    arms!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// A tile of `M` pixels, `N` vectors wide.
struct Tile<'a, const N: usize, const M: usize, const PAIRS: bool> {
    panel: &'a Panel<'a>,
    place: &'a Place,
    prefetch: &'a mut PrefetchRange,
}

impl<'a, const N: usize, const M: usize, const PAIRS: bool> Tile<'a, N, M, PAIRS> {
    /// # Safety
    /// As [`run_tile`]: what it allows is done when the tile is run.
    #[inline(always)]
    unsafe fn new(panel: &'a Panel<'a>, place: &'a Place, prefetch: &'a mut PrefetchRange) -> Self {
        Self { panel, place, prefetch }
    }
}

impl<L: Lanes, const N: usize, const M: usize, const PAIRS: bool> Part<L> for Tile<'_, N, M, PAIRS> {
    #[inline(always)]
    fn run(self, l: L) {
        // SAFETY: by the promise to `new`.
        unsafe { run::<L, N, M, PAIRS>(l, self.panel, self.place, self.prefetch) }
    }
}

/// # Safety
/// As [`run_tile`].
#[inline(always)]
unsafe fn run<L: Lanes, const N: usize, const M: usize, const PAIRS: bool>(
    l: L,
    panel: &Panel<'_>,
    place: &Place,
    prefetch: &mut PrefetchRange,
) {
    let mut sums = [[l.splat(0.0); N]; M];
    if panel.begins {
        for sums in &mut sums {
            for (sum, bias) in sums.iter_mut().zip(&panel.bias) {
                *sum = l.load(bias);
            }
        }
    } else {
        // SAFETY: by the caller's promise; the block before has written all of it.
        unsafe { add_rows(l, place.y, panel.out_step, panel.last, &mut sums) };
    }
    let mut w = panel.weights;
    // SAFETY: the pointers stay in the ranges that the caller promises; prefetching may point anywhere.
    unsafe {
        for segment in panel.segments {
            let mut x = [std::ptr::null::<f32>(); M];
            for (x, start) in x.iter_mut().zip(&place.starts) {
                *x = start.wrapping_add(segment.start);
            }
            // When nothing is left to prefetch, the last address is prefetched again and again, which costs nothing.
            let bytes = if PAIRS { 2 * AHEAD } else { AHEAD };
            let step = if prefetch.len() > 0 { bytes } else { 0 };
            let mut pf = prefetch.take(bytes * segment.len);
            for c in 0..segment.len {
                let mut weights = [l.splat(0.0); N];
                for (j, v) in weights.iter_mut().enumerate() {
                    *v = l.read(w.wrapping_add(j * LANES));
                }
                w = w.wrapping_add(N * LANES);
                l.prefetch(pf);
                l.prefetch(pf.wrapping_add(AHEAD / 2));
                if PAIRS {
                    l.prefetch(pf.wrapping_add(AHEAD));
                    l.prefetch(pf.wrapping_add(AHEAD / 2 * 3));
                }
                pf = pf.wrapping_add(step);
                for (sums, x) in sums.iter_mut().zip(x) {
                    let v = l.splat(x.wrapping_add(c).read_unaligned());
                    for (sum, w) in sums.iter_mut().zip(weights) {
                        *sum = if PAIRS { l.dot_bf16(v, w, *sum) } else { l.mul_add(v, w, *sum) };
                    }
                }
            }
        }
        if !panel.ends {
            write_rows(l, place.y, panel, &sums);
            return;
        }
        if !place.residual.is_null() {
            add_rows(l, place.residual, panel.residual_step, panel.last, &mut sums);
        }
        let sums = finish(l, panel.activation, sums);
        write_rows(l, place.y, panel, &sums);
        if let Some(activation) = panel.activation.filter(|a| !a.is_short()) {
            l.outlined(ActivateRows {
                activation,
                y: place.y,
                rows: M,
                step: panel.out_step,
                lanes: (N - 1) * LANES + panel.last,
                sums: place.sums,
                first: place.first,
            });
        } else if !place.sums.is_null() {
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

/// Adds one row of at most N·16 values to the sums of each pixel.
///
/// # Safety
/// `from` + pixel · `step` is valid for reading (N - 1) · 16 + `last` values.
#[inline(always)]
unsafe fn add_rows<L: Lanes, const N: usize, const M: usize>(
    l: L,
    from: *const f32,
    step: usize,
    last: usize,
    sums: &mut [[L::V; N]; M],
) {
    for (m, sums) in sums.iter_mut().enumerate() {
        for (j, sum) in sums.iter_mut().enumerate() {
            let from = from.wrapping_add(m * step + j * LANES);
            let n = if j + 1 < N { LANES } else { last };
            // SAFETY: vector `j` of pixel `m` lies in the promised values.
            *sum = l.add(*sum, unsafe { l.read_partial(from, n) });
        }
    }
}

/// Writes the sums of each pixel.
///
/// # Safety
/// `to` + pixel · `out_step` is valid for writing (N - 1) · 16 + `last` values.
#[inline(always)]
unsafe fn write_rows<L: Lanes, const N: usize, const M: usize>(
    l: L,
    to: *mut f32,
    panel: &Panel<'_>,
    sums: &[[L::V; N]; M],
) {
    for (m, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            let to = to.wrapping_add(m * panel.out_step + j * LANES);
            // SAFETY: vector `j` of pixel `m` lies in the promised values.
            unsafe {
                if j + 1 < N || panel.last == LANES {
                    l.write(*sum, to);
                } else {
                    l.write_partial(*sum, to, panel.last);
                }
            }
        }
    }
}
