//! Whole tiles: sixteen channels of all pixels or points at once.
//!
//! Pixels stand channels-last in scratch, `channels` a multiple of the lanes; points stand as one matrix
//! `[tiles, channels]` after the other, `step` values apart.

use super::super::job::Shared;
use super::lines::{self, Line};
use crate::Isa;
use crate::lanes::{LANES, Lanes, dispatch};

/// A tile: rows of values.
type Plane<L> = [Line<L>; 6];

/// A map along both axes, from `$from` to `$to` values each.
macro_rules! plane {
    ($name:ident, $line:path, $from:expr, $to:expr) => {
        #[inline(always)]
        fn $name<L: Lanes, const SIDE: usize>(l: L, from: &Plane<L>) -> Plane<L> {
            let mut half = [[l.splat(0.0); 6]; 6];
            for x in 0..$from {
                let mut column = [l.splat(0.0); 6];
                for y in 0..$from {
                    column[y] = from[y][x];
                }
                let column = $line(l, &column);
                for y in 0..$to {
                    half[y][x] = column[y];
                }
            }
            let mut to = [[l.splat(0.0); 6]; 6];
            for y in 0..$to {
                to[y] = $line(l, &half[y]);
            }
            to
        }
    };
}

plane!(kernel, lines::kernel::<L, SIDE>, 3, SIDE + 2);
plane!(kernel_back, lines::kernel_back::<L, SIDE>, SIDE + 2, 3);
plane!(input, lines::input::<L, SIDE>, SIDE + 2, SIDE + 2);
plane!(input_back, lines::input_back::<L, SIDE>, SIDE + 2, SIDE + 2);
plane!(output, lines::output::<L, SIDE>, SIDE + 2, SIDE);
plane!(output_back, lines::output_back::<L, SIDE>, SIDE, SIDE + 2);

#[inline(always)]
fn lanes(from: &[f32], at: usize) -> &[f32; LANES] {
    from[at..at + LANES].try_into().expect("as many as lanes")
}

#[inline(always)]
fn lanes_mut(from: &mut [f32], at: usize) -> &mut [f32; LANES] {
    (&mut from[at..at + LANES]).try_into().expect("as many as lanes")
}

/// Reads `n` × `n` vectors, rows `row` and columns `column` values apart.
#[inline(always)]
fn read<L: Lanes>(l: L, from: &[f32], at: usize, n: usize, [row, column]: [usize; 2]) -> Plane<L> {
    let mut plane = [[l.splat(0.0); 6]; 6];
    for (y, line) in plane.iter_mut().enumerate().take(n) {
        for (x, v) in line.iter_mut().enumerate().take(n) {
            *v = l.load(lanes(from, at + y * row + x * column));
        }
    }
    plane
}

/// Where the tiles of one sample are: among pixels and among points.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Outputs of a tile on each axis, 4 or 2.
    pub side: usize,
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
    /// Channels, a multiple of the lanes.
    pub channels: usize,
    /// Values from one row of pixels to the next.
    pub row: usize,
    /// First value among points.
    pub at: usize,
    /// Values from one point to the next.
    pub step: usize,
}

/// Every tile and sixteen channels of it: place of its first pixel and of its first point.
#[inline(always)]
fn each(g: &Grid) -> impl Iterator<Item = [usize; 2]> {
    let g = *g;
    let tile = move |t: usize| {
        let (y, x) = (t / g.tiles[1], t % g.tiles[1]);
        [y * g.side * g.row + x * g.side * g.channels, g.at + t * g.channels]
    };
    let blocks = g.channels / LANES;
    (0..g.tiles[0] * g.tiles[1] * blocks).map(move |i| tile(i / blocks).map(|at| at + i % blocks * LANES))
}

/// Pixels, with the border that tiles reach over, → points.
///
/// # Safety
/// Nobody else reads or writes the points of these tiles.
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub(super) unsafe fn inputs(isa: Isa, g: Grid, pixels: &[f32], points: Shared<'_>) {
    dispatch!(isa, inputs_body(g: Grid, pixels: &[f32], points: Shared<'_>));
}

#[inline(always)]
fn inputs_body<L: Lanes>(l: L, g: Grid, pixels: &[f32], points: Shared<'_>) {
    if g.side == 4 { inputs_of::<L, 4>(l, g, pixels, points) } else { inputs_of::<L, 2>(l, g, pixels, points) }
}

#[inline(always)]
fn inputs_of<L: Lanes, const SIDE: usize>(l: L, g: Grid, pixels: &[f32], points: Shared<'_>) {
    for [from, to] in each(&g) {
        let plane = read(l, pixels, from, SIDE + 2, [g.row, g.channels]);
        write(l, &input::<L, SIDE>(l, &plane), SIDE + 2, points, to, g.step);
    }
}

/// Writes `n` × `n` points.
#[inline(always)]
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
fn write<L: Lanes>(l: L, plane: &Plane<L>, n: usize, to: Shared<'_>, at: usize, step: usize) {
    for (y, line) in plane.iter().enumerate().take(n) {
        for (x, v) in line.iter().enumerate().take(n) {
            // SAFETY: the callers of this module's functions promise that these points belong to one job.
            let to = unsafe { to.slice(at + (y * n + x) * step, LANES) };
            l.store(*v, lanes_mut(to, 0));
        }
    }
}

/// Gradients of outputs → gradients of points. Pixels as [`outputs`] writes them.
///
/// # Safety
/// As for [`inputs`].
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub(super) unsafe fn output_gradients(isa: Isa, g: Grid, pixels: &[f32], points: Shared<'_>) {
    dispatch!(isa, output_gradients_body(g: Grid, pixels: &[f32], points: Shared<'_>));
}

#[inline(always)]
fn output_gradients_body<L: Lanes>(l: L, g: Grid, pixels: &[f32], points: Shared<'_>) {
    if g.side == 4 {
        output_gradients_of::<L, 4>(l, g, pixels, points);
    } else {
        output_gradients_of::<L, 2>(l, g, pixels, points);
    }
}

#[inline(always)]
fn output_gradients_of<L: Lanes, const SIDE: usize>(l: L, g: Grid, pixels: &[f32], points: Shared<'_>) {
    for [from, to] in each(&g) {
        let plane = read(l, pixels, from, SIDE, [g.row, g.channels]);
        write(l, &output_back::<L, SIDE>(l, &plane), SIDE + 2, points, to, g.step);
    }
}

/// Points → outputs, whole tiles of them.
pub(super) fn outputs(isa: Isa, g: Grid, points: &[f32], pixels: &mut [f32]) {
    dispatch!(isa, outputs_body(g: Grid, points: &[f32], pixels: &mut [f32]));
}

#[inline(always)]
fn outputs_body<L: Lanes>(l: L, g: Grid, points: &[f32], pixels: &mut [f32]) {
    if g.side == 4 { outputs_of::<L, 4>(l, g, points, pixels) } else { outputs_of::<L, 2>(l, g, points, pixels) }
}

#[inline(always)]
fn outputs_of<L: Lanes, const SIDE: usize>(l: L, g: Grid, points: &[f32], pixels: &mut [f32]) {
    for [to, from] in each(&g) {
        let plane = read(l, points, from, SIDE + 2, [(SIDE + 2) * g.step, g.step]);
        let plane = output::<L, SIDE>(l, &plane);
        for (y, line) in plane.iter().enumerate().take(SIDE) {
            for (x, v) in line.iter().enumerate().take(SIDE) {
                l.store(*v, lanes_mut(pixels, to + y * g.row + x * g.channels));
            }
        }
    }
}

/// Gradients of points are added to those of the pixels that they come from. Pixels as [`inputs`] reads them.
pub(super) fn input_gradients(isa: Isa, g: Grid, points: &[f32], pixels: &mut [f32]) {
    dispatch!(isa, input_gradients_body(g: Grid, points: &[f32], pixels: &mut [f32]));
}

#[inline(always)]
fn input_gradients_body<L: Lanes>(l: L, g: Grid, points: &[f32], pixels: &mut [f32]) {
    if g.side == 4 {
        input_gradients_of::<L, 4>(l, g, points, pixels);
    } else {
        input_gradients_of::<L, 2>(l, g, points, pixels);
    }
}

#[inline(always)]
fn input_gradients_of<L: Lanes, const SIDE: usize>(l: L, g: Grid, points: &[f32], pixels: &mut [f32]) {
    for [to, from] in each(&g) {
        let plane = read(l, points, from, SIDE + 2, [(SIDE + 2) * g.step, g.step]);
        let plane = input_back::<L, SIDE>(l, &plane);
        for (y, line) in plane.iter().enumerate().take(SIDE + 2) {
            for (x, v) in line.iter().enumerate().take(SIDE + 2) {
                let pixel = lanes_mut(pixels, to + y * g.row + x * g.channels);
                l.store(l.add(l.load(pixel), *v), pixel);
            }
        }
    }
}

/// Nine taps of sixteen kernels for `g.tiles[1]` channels, `[channels, 9, 16]`, → points.
///
/// # Safety
/// As for [`inputs`].
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub(super) unsafe fn kernels(isa: Isa, g: Grid, taps: &[f32], points: Shared<'_>) {
    dispatch!(isa, kernels_body(g: Grid, taps: &[f32], points: Shared<'_>));
}

#[inline(always)]
fn kernels_body<L: Lanes>(l: L, g: Grid, taps: &[f32], points: Shared<'_>) {
    if g.side == 4 { kernels_of::<L, 4>(l, g, taps, points) } else { kernels_of::<L, 2>(l, g, taps, points) }
}

#[inline(always)]
fn kernels_of<L: Lanes, const SIDE: usize>(l: L, g: Grid, taps: &[f32], points: Shared<'_>) {
    for c in 0..g.tiles[1] {
        let plane = read(l, taps, c * 9 * LANES, 3, [3 * LANES, LANES]);
        write(l, &kernel::<L, SIDE>(l, &plane), SIDE + 2, points, g.at + c * g.channels, g.step);
    }
}

/// The transpose of [`kernels`].
pub(super) fn kernel_gradients(isa: Isa, g: Grid, points: &[f32], taps: &mut [f32]) {
    dispatch!(isa, kernel_gradients_body(g: Grid, points: &[f32], taps: &mut [f32]));
}

#[inline(always)]
fn kernel_gradients_body<L: Lanes>(l: L, g: Grid, points: &[f32], taps: &mut [f32]) {
    if g.side == 4 {
        kernel_gradients_of::<L, 4>(l, g, points, taps);
    } else {
        kernel_gradients_of::<L, 2>(l, g, points, taps);
    }
}

#[inline(always)]
fn kernel_gradients_of<L: Lanes, const SIDE: usize>(l: L, g: Grid, points: &[f32], taps: &mut [f32]) {
    for c in 0..g.tiles[1] {
        let plane = read(l, points, g.at + c * g.channels, SIDE + 2, [(SIDE + 2) * g.step, g.step]);
        let plane = kernel_back::<L, SIDE>(l, &plane);
        for (tap, v) in plane.iter().take(3).flat_map(|line| line.iter().take(3)).enumerate() {
            l.store(*v, lanes_mut(taps, (c * 9 + tap) * LANES));
        }
    }
}

/// Rows of `channels` values, `step` apart, of samples of `each` rows: row t becomes the K rows π_k · row t side by side.
pub(super) fn scale(isa: Isa, rows: &[f32], [channels, step, each]: [usize; 3], pi: &[f32], k: usize, to: &mut [f32]) {
    let size = [channels, step, each];
    dispatch!(isa, scale_body(rows: &[f32], size: [usize; 3], pi: &[f32], k: usize, to: &mut [f32]));
}

#[inline(always)]
fn scale_body<L>(_: L, rows: &[f32], [channels, step, each]: [usize; 3], pi: &[f32], k: usize, to: &mut [f32]) {
    for (t, to) in to.chunks_exact_mut(k * channels).enumerate() {
        let row = &rows[t * step..][..channels];
        for (to, p) in to.chunks_exact_mut(channels).zip(&pi[t / each * k..][..k]) {
            to.iter_mut().zip(row).for_each(|(t, v)| *t = p * v);
        }
    }
}

/// The reverse of [`scale`] for the gradients `from` of scaled rows: `to`, as `rows`, becomes Σ_k π_k · row k, and `dots`
/// `[samples, K]` receives ⟨row k, row t⟩ summed over the rows of a sample.
#[allow(clippy::too_many_arguments, reason = "one fused loop over three streams")]
pub(super) fn fold(
    isa: Isa,
    from: &[f32],
    rows: &[f32],
    size: [usize; 3],
    pi: &[f32],
    k: usize,
    to: &mut [f32],
    dots: &mut [f32],
) {
    dispatch!(
        isa,
        fold_body(
            from: &[f32],
            rows: &[f32],
            size: [usize; 3],
            pi: &[f32],
            k: usize,
            to: &mut [f32],
            dots: &mut [f32]
        )
    );
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one fused loop over three streams")]
fn fold_body<L>(
    _: L,
    from: &[f32],
    rows: &[f32],
    [channels, step, each]: [usize; 3],
    pi: &[f32],
    k: usize,
    to: &mut [f32],
    dots: &mut [f32],
) {
    dots.fill(0.0);
    for (t, from) in from.chunks_exact(k * channels).enumerate() {
        let (row, to) = (&rows[t * step..][..channels], &mut to[t * step..][..channels]);
        let at = t / each * k;
        to.fill(0.0);
        for ((from, p), dot) in from.chunks_exact(channels).zip(&pi[at..at + k]).zip(&mut dots[at..at + k]) {
            let mut sums = [0.0f32; LANES];
            let parts = from.chunks(LANES).zip(row.chunks(LANES)).zip(to.chunks_mut(LANES));
            for ((from, row), to) in parts {
                for (((f, r), t), sum) in from.iter().zip(row).zip(to).zip(&mut sums) {
                    *sum += f * r;
                    *t += p * f;
                }
            }
            *dot += sums.iter().sum::<f32>();
        }
    }
}
