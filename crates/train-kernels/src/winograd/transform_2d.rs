//! Transforms of whole tiles: sixteen channels of all pixels or points at once.
//!
//! Pixels are channels-last in scratch memory, with `channels` a multiple of the lanes. Points are one matrix
//! [`Panels`] after the other, `step` values apart, with a row for each tile.

use dyconv_simd::{Isa, LANES, Lanes, dispatch, lanes, lanes_mut};

use super::form::{Form, TAPS};
use super::panels::Panels;
use super::transform_1d::{Axis, Four, Line, Two, Whole};
use crate::job::Shared;

/// A tile: rows of values.
type Plane<L> = [Line<L>; 6];

/// Applies a 1-D transform along both axes, from `$from` to `$to` values each.
macro_rules! plane {
    ($name:ident, $from:expr, $to:expr) => {
        #[inline(always)]
        fn $name<L: Lanes, M: Axis>(l: L, from: &Plane<L>) -> Plane<L> {
            let mut half = [[l.splat(0.0); 6]; 6];
            for x in 0..$from {
                let mut column = [l.splat(0.0); 6];
                for y in 0..$from {
                    column[y] = from[y][x];
                }
                let column = M::$name(l, &column);
                for y in 0..$to {
                    half[y][x] = column[y];
                }
            }
            let mut to = [[l.splat(0.0); 6]; 6];
            for y in 0..$to {
                to[y] = M::$name(l, &half[y]);
            }
            to
        }
    };
}

plane!(kernel, 3, M::POINTS);
plane!(kernel_back, M::POINTS, 3);
plane!(input, M::INPUTS, M::POINTS);
plane!(input_back, M::POINTS, M::INPUTS);
plane!(output, M::POINTS, M::OUTPUTS);
plane!(output_back, M::OUTPUTS, M::POINTS);

/// Compiles `$each`, generic over lanes and form, for every instruction set and form, as the function `$name`.
macro_rules! for_every_form {
    ($(#[$meta:meta])* [$($head:tt)*] $name:ident, $body:ident, $each:ident($place:ident: $of:ty, $($arg:ident: $ty:ty),*)) => {
        $(#[$meta])*
        $($head)* $name(isa: Isa, $place: $of, $($arg: $ty),*) {
            dispatch!(isa, $body($place: $of, $($arg: $ty),*));
        }

        #[inline(always)]
        fn $body<L: Lanes>(l: L, $place: $of, $($arg: $ty),*) {
            match $place.form {
                Form::Four => $each::<L, Four>(l, $place, $($arg),*),
                Form::Two => $each::<L, Two>(l, $place, $($arg),*),
                Form::Whole => $each::<L, Whole>(l, $place, $($arg),*),
            }
        }
    };
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

/// Layout of the tiles of one sample, among pixels and among points.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub form: Form,
    /// Number of rows and columns of tiles.
    pub tiles: [usize; 2],
    /// Distance in values from one row of pixels to the next.
    pub row: usize,
    /// Row of the first tile in the matrices of the points.
    pub first: usize,
    /// The matrix of a point; its columns are the channels.
    pub points: Panels,
    /// Distance in values from one point to the next.
    pub step: usize,
}

/// Iterates over every tile and every sixteen channels: offsets of the first pixel and of the first point.
#[inline(always)]
fn each(g: &Grid) -> impl Iterator<Item = [usize; 2]> {
    let (g, channels) = (*g, g.points.columns);
    let blocks = channels / LANES;
    (0..g.tiles[0] * g.tiles[1] * blocks).map(move |i| {
        let (t, channel) = (i / blocks, i % blocks * LANES);
        let (y, x) = (t / g.tiles[1], t % g.tiles[1]);
        let pixel = y * g.form.outputs() * g.row + x * g.form.outputs() * channels + channel;
        [pixel, g.points.place(g.first + t, channel)]
    })
}

for_every_form! {
    /// Pixels, with the border that tiles overlap, → points.
    ///
    /// # Safety
    /// Nobody else reads or writes the points of these tiles.
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    [pub(super) unsafe fn] inputs, inputs_body, inputs_of(g: Grid, pixels: &[f32], points: Shared<'_>)
}

#[inline(always)]
fn inputs_of<L: Lanes, M: Axis>(l: L, g: Grid, pixels: &[f32], points: Shared<'_>) {
    for [from, to] in each(&g) {
        let plane = read(l, pixels, from, M::INPUTS, [g.row, g.points.columns]);
        write(l, &input::<L, M>(l, &plane), M::POINTS, points, to, g.step);
    }
}

for_every_form! {
    /// Gradients of outputs → gradients of points. The pixels are laid out as [`outputs`] writes them.
    ///
    /// # Safety
    /// As for [`inputs`].
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    [pub(super) unsafe fn] output_gradients, output_gradients_body, output_gradients_of(
        g: Grid, pixels: &[f32], points: Shared<'_>
    )
}

#[inline(always)]
fn output_gradients_of<L: Lanes, M: Axis>(l: L, g: Grid, pixels: &[f32], points: Shared<'_>) {
    for [from, to] in each(&g) {
        let plane = read(l, pixels, from, M::OUTPUTS, [g.row, g.points.columns]);
        write(l, &output_back::<L, M>(l, &plane), M::POINTS, points, to, g.step);
    }
}

for_every_form! {
    /// Points → outputs, in whole tiles.
    [pub(super) fn] outputs, outputs_body, outputs_of(g: Grid, points: &[f32], pixels: &mut [f32])
}

#[inline(always)]
fn outputs_of<L: Lanes, M: Axis>(l: L, g: Grid, points: &[f32], pixels: &mut [f32]) {
    for [to, from] in each(&g) {
        let plane = read(l, points, from, M::POINTS, [M::POINTS * g.step, g.step]);
        let plane = output::<L, M>(l, &plane);
        for (y, line) in plane.iter().enumerate().take(M::OUTPUTS) {
            for (x, v) in line.iter().enumerate().take(M::OUTPUTS) {
                l.store(*v, lanes_mut(pixels, to + y * g.row + x * g.points.columns));
            }
        }
    }
}

for_every_form! {
    /// Adds the gradients of points to those of the pixels that they come from. The pixels are laid out as [`inputs`]
    /// reads them.
    [pub(super) fn] input_gradients, input_gradients_body, input_gradients_of(g: Grid, points: &[f32], pixels: &mut [f32])
}

#[inline(always)]
fn input_gradients_of<L: Lanes, M: Axis>(l: L, g: Grid, points: &[f32], pixels: &mut [f32]) {
    for [to, from] in each(&g) {
        let plane = read(l, points, from, M::POINTS, [M::POINTS * g.step, g.step]);
        let plane = input_back::<L, M>(l, &plane);
        for (y, line) in plane.iter().enumerate().take(M::INPUTS) {
            for (x, v) in line.iter().enumerate().take(M::INPUTS) {
                let pixel = lanes_mut(pixels, to + y * g.row + x * g.points.columns);
                l.store(l.add(l.load(pixel), *v), pixel);
            }
        }
    }
}

/// Place of some kernels among points: sixteen channels of one side are the columns from `at` on, and some channels of
/// the other side are `rows` rows.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub form: Form,
    pub rows: usize,
    /// First row and column.
    pub at: [usize; 2],
    /// The matrix of a point.
    pub points: Panels,
    /// Distance in values from one point to the next.
    pub step: usize,
}

for_every_form! {
    /// Nine taps of sixteen kernels in each row, `[rows, 9, 16]`, → points.
    ///
    /// # Safety
    /// As for [`inputs`].
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    [pub(super) unsafe fn] kernels, kernels_body, kernels_of(r: Rows, taps: &[f32], points: Shared<'_>)
}

#[inline(always)]
fn kernels_of<L: Lanes, M: Axis>(l: L, r: Rows, taps: &[f32], points: Shared<'_>) {
    for row in 0..r.rows {
        let plane = read(l, taps, row * TAPS * LANES, 3, [3 * LANES, LANES]);
        let at = r.points.place(r.at[0] + row, r.at[1]);
        write(l, &kernel::<L, M>(l, &plane), M::POINTS, points, at, r.step);
    }
}

for_every_form! {
    /// The transpose of [`kernels`].
    [pub(super) fn] kernel_gradients, kernel_gradients_body, kernel_gradients_of(r: Rows, points: &[f32], taps: &mut [f32])
}

#[inline(always)]
fn kernel_gradients_of<L: Lanes, M: Axis>(l: L, r: Rows, points: &[f32], taps: &mut [f32]) {
    for row in 0..r.rows {
        let at = r.points.place(r.at[0] + row, r.at[1]);
        let plane = kernel_back::<L, M>(l, &read(l, points, at, M::POINTS, [M::POINTS * r.step, r.step]));
        for (tap, v) in plane.iter().take(3).flat_map(|line| line.iter().take(3)).enumerate() {
            l.store(*v, lanes_mut(taps, (row * TAPS + tap) * LANES));
        }
    }
}

/// Copies planes `[C, H, W]` to pixels, shifted by `from` rows and columns; what does not fit is left out.
pub(super) fn planes_to_pixels(
    isa: Isa,
    planes: &[f32],
    size: [usize; 3],
    from: [usize; 2],
    g: Grid,
    pixels: &mut [f32],
) {
    dispatch!(
        isa,
        planes_to_pixels_body(planes: &[f32], size: [usize; 3], from: [usize; 2], g: Grid, pixels: &mut [f32])
    );
}

#[inline(always)]
fn planes_to_pixels_body<L: Lanes>(
    l: L,
    planes: &[f32],
    [c, h, w]: [usize; 3],
    from: [usize; 2],
    g: Grid,
    pixels: &mut [f32],
) {
    let (all, len) = (h * w, pixels.len());
    for channel in (0..c).step_by(LANES) {
        let planes = &planes[channel * all..(channel + LANES).min(c) * all];
        for first in (0..all).step_by(LANES) {
            let count = LANES.min(all - first);
            let vectors = columns(l, &planes[first..], all, [planes.len() / all, count]);
            let (mut y, mut x) = (first / w, first % w);
            for v in vectors.into_iter().take(count) {
                if let Some(at) = pixel(&g, [y + from[0], x + from[1]], len) {
                    l.store(v, lanes_mut(pixels, at + channel));
                }
                (y, x) = if x + 1 < w { (y, x + 1) } else { (y + 1, 0) };
            }
        }
    }
}

/// Offset of a pixel, unless it is beyond the last column or row.
#[inline(always)]
fn pixel(g: &Grid, [y, x]: [usize; 2], len: usize) -> Option<usize> {
    let (at, column) = (y * g.row, x * g.points.columns);
    (column < g.row && at < len).then_some(at + column)
}

/// The reverse of [`planes_to_pixels`]. Every value of the planes is written; those that no tile reaches become zero.
pub(super) fn pixels_to_planes(
    isa: Isa,
    pixels: &[f32],
    size: [usize; 3],
    from: [usize; 2],
    g: Grid,
    planes: &mut [f32],
) {
    dispatch!(
        isa,
        pixels_to_planes_body(pixels: &[f32], size: [usize; 3], from: [usize; 2], g: Grid, planes: &mut [f32])
    );
}

#[inline(always)]
fn pixels_to_planes_body<L: Lanes>(
    l: L,
    pixels: &[f32],
    [c, h, w]: [usize; 3],
    from: [usize; 2],
    g: Grid,
    planes: &mut [f32],
) {
    let all = h * w;
    for channel in (0..c).step_by(LANES) {
        let planes = &mut planes[channel * all..(channel + LANES).min(c) * all];
        for first in (0..all).step_by(LANES) {
            let count = LANES.min(all - first);
            let mut block = [l.splat(0.0); LANES];
            let (mut y, mut x) = (first / w, first % w);
            for v in block.iter_mut().take(count) {
                if let Some(at) = pixel(&g, [y + from[0], x + from[1]], pixels.len()) {
                    *v = l.load(lanes(pixels, at + channel));
                }
                (y, x) = if x + 1 < w { (y, x + 1) } else { (y + 1, 0) };
            }
            for (v, plane) in l.transpose(block).into_iter().zip(planes.chunks_exact_mut(all)) {
                l.store_partial(v, &mut plane[first..first + count]);
            }
        }
    }
}

/// The `count` columns of `rows` rows, `step` apart; lanes without a row are zero.
#[inline(always)]
fn columns<L: Lanes>(l: L, from: &[f32], step: usize, [rows, count]: [usize; 2]) -> [L::V; LANES] {
    let mut block = [l.splat(0.0); LANES];
    for (row, v) in block.iter_mut().enumerate().take(rows) {
        let from = &from[row * step..];
        *v = if from.len() >= LANES { l.load(lanes(from, 0)) } else { l.load_partial(&from[..count]) };
    }
    l.transpose(block)
}

/// Transposes `rows` rows of `len` values, `step` apart, to `[len, 16]`; lanes without a row are zero.
pub(super) fn rows_to_lanes(isa: Isa, from: &[f32], step: usize, [rows, len]: [usize; 2], to: &mut [f32]) {
    let size = [rows, len];
    dispatch!(isa, rows_to_lanes_body(from: &[f32], step: usize, size: [usize; 2], to: &mut [f32]));
}

#[inline(always)]
fn rows_to_lanes_body<L: Lanes>(l: L, from: &[f32], step: usize, [rows, len]: [usize; 2], to: &mut [f32]) {
    for i in (0..len).step_by(LANES) {
        let count = LANES.min(len - i);
        for (j, v) in columns(l, &from[i..], step, [rows, count]).into_iter().enumerate().take(count) {
            l.store(v, lanes_mut(to, (i + j) * LANES));
        }
    }
}

/// The reverse of [`rows_to_lanes`].
pub(super) fn lanes_to_rows(isa: Isa, from: &[f32], step: usize, [rows, len]: [usize; 2], to: &mut [f32]) {
    let size = [rows, len];
    dispatch!(isa, lanes_to_rows_body(from: &[f32], step: usize, size: [usize; 2], to: &mut [f32]));
}

#[inline(always)]
fn lanes_to_rows_body<L: Lanes>(l: L, from: &[f32], step: usize, [rows, len]: [usize; 2], to: &mut [f32]) {
    for i in (0..len).step_by(LANES) {
        let count = LANES.min(len - i);
        let mut block = [l.splat(0.0); LANES];
        for (j, v) in block.iter_mut().enumerate().take(count) {
            *v = l.load(lanes(from, (i + j) * LANES));
        }
        for (row, v) in l.transpose(block).into_iter().enumerate().take(rows) {
            l.store_partial(v, &mut to[row * step + i..][..count]);
        }
    }
}
