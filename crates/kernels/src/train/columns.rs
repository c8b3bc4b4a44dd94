//! A block of pixels as the columns of a matrix, and back.
//!
//! Row (c, i, j) of the matrix holds, for every output pixel of the block, the input that tap (i, j) of channel c sees,
//! or zero outside the map. Where neighbouring outputs see neighbouring inputs a whole run of rows is one copy, whose
//! ends of lines are then cleared.

use std::ops::Range;

use super::geometry::{BatchConv, Block};

/// What one tap sees of one sample: output rows `rows` that lie inside the map, output columns `columns` likewise, and the
/// input position of the first of them.
struct Sight {
    rows: Range<usize>,
    columns: Range<usize>,
    first: [usize; 2],
}

/// Outputs `o` in `among` whose input `o·stride + shift − padding` lies in `0..size`.
fn inside(among: &Range<usize>, stride: usize, shift: usize, padding: usize, size: usize) -> Range<usize> {
    let first = padding.saturating_sub(shift).div_ceil(stride).max(among.start);
    let end = (size + padding).saturating_sub(shift).div_ceil(stride).min(among.end);
    first.min(end)..end
}

impl Sight {
    fn new(c: &BatchConv, tap: usize, rows: &Range<usize>) -> Option<Self> {
        let shift = [tap / c.kernel[1] * c.dilation[0], tap % c.kernel[1] * c.dilation[1]];
        let rows = inside(rows, c.stride[0], shift[0], c.padding[0], c.input[1]);
        let columns = inside(&(0..c.output()[1]), c.stride[1], shift[1], c.padding[1], c.input[2]);
        if rows.is_empty() || columns.is_empty() {
            return None;
        }
        let first =
            [rows.start * c.stride[0] + shift[0] - c.padding[0], columns.start * c.stride[1] + shift[1] - c.padding[1]];
        Some(Self { rows, columns, first })
    }
}

/// Whether a run of output rows sees a run of input rows of the same width.
fn runs(c: &BatchConv) -> bool {
    c.stride == [1, 1] && c.output()[1] == c.input[2]
}

/// Writes the columns of `channels` into `to` `[channels · taps, pixels of the block]`.
pub(super) fn gather(c: &BatchConv, x: &[f32], channels: Range<usize>, block: &Block, to: &mut [f32]) {
    let (taps, all, each) = (c.taps(), block.pixels(c), block.pixels_each(c));
    for tap in 0..taps {
        let sight = Sight::new(c, tap, &block.rows);
        let table = sight.as_ref().filter(|_| each <= TINY).map(|sight| positions(c, sight, block));
        for (row, channel) in channels.clone().enumerate() {
            for (i, n) in block.samples.clone().enumerate() {
                let plane = &x[(n * c.input[0] + channel) * c.input_pixels()..][..c.input_pixels()];
                let to = &mut to[(row * taps + tap) * all + i * each..][..each];
                match (&table, &sight) {
                    (Some(table), _) => {
                        to.iter_mut().zip(table).for_each(|(t, at)| *t = plane.get(*at).copied().unwrap_or(0.0));
                    }
                    (None, Some(sight)) => gather_tap(c, plane, sight, block.rows.start, to),
                    (None, None) => to.fill(0.0),
                }
            }
        }
    }
}

fn gather_tap(c: &BatchConv, plane: &[f32], s: &Sight, start: usize, to: &mut [f32]) {
    let width = c.output()[1];
    let (before, after) = ((s.rows.start - start) * width, (s.rows.end - start) * width);
    to[..before].fill(0.0);
    to[after..].fill(0.0);
    let to = &mut to[before..after];
    if runs(c) {
        let from = s.first[0] * width + s.first[1];
        let len = to.len() - s.columns.start - (width - s.columns.end);
        to[s.columns.start..][..len].copy_from_slice(&plane[from..][..len]);
        if s.columns.len() < width {
            clear_ends(to, width, &s.columns);
        }
        return;
    }
    for (i, line) in to.chunks_exact_mut(width).enumerate() {
        let from = &plane[(s.first[0] + i * c.stride[0]) * c.input[2] + s.first[1]..];
        line[..s.columns.start].fill(0.0);
        line[s.columns.end..].fill(0.0);
        for (t, f) in line[s.columns.clone()].iter_mut().zip(from.iter().step_by(c.stride[1])) {
            *t = *f;
        }
    }
}

/// Clears what stands before and after `keep` in each line.
fn clear_ends(lines: &mut [f32], width: usize, keep: &Range<usize>) {
    for column in (0..keep.start).chain(keep.end..width) {
        lines.iter_mut().skip(column).step_by(width).for_each(|v| *v = 0.0);
    }
}

/// Largest map, in pixels, that is gathered through a table of positions rather than line by line.
const TINY: usize = 32;
/// A position outside the map.
const OUTSIDE: usize = usize::MAX;

/// The input position that one tap sees for each output pixel of the block.
fn positions(c: &BatchConv, sight: &Sight, block: &Block) -> [usize; TINY] {
    let width = c.output()[1];
    let mut table = [OUTSIDE; TINY];
    for (i, row) in sight.rows.clone().enumerate() {
        for (j, column) in sight.columns.clone().enumerate() {
            table[(row - block.rows.start) * width + column] =
                (sight.first[0] + i * c.stride[0]) * c.input[2] + sight.first[1] + j * c.stride[1];
        }
    }
    table
}

/// Adds the columns of one sample's `channels` back to where they came from: `columns` `[channels · taps, all]`, of which
/// the sample's pixels start at `at`; `to` `[channels, H, W]`. Columns outside the map are cleared on the way.
pub(super) fn scatter(
    c: &BatchConv,
    columns: &mut [f32],
    all: usize,
    at: usize,
    channels: usize,
    rows: &Range<usize>,
    to: &mut [f32],
) {
    let taps = c.taps();
    let each = rows.len() * c.output()[1];
    for tap in 0..taps {
        let Some(sight) = Sight::new(c, tap, rows) else { continue };
        for channel in 0..channels {
            let plane = &mut to[channel * c.input_pixels()..][..c.input_pixels()];
            scatter_tap(c, &mut columns[(channel * taps + tap) * all + at..][..each], &sight, rows.start, plane);
        }
    }
}

fn scatter_tap(c: &BatchConv, from: &mut [f32], s: &Sight, start: usize, plane: &mut [f32]) {
    let width = c.output()[1];
    let from = &mut from[(s.rows.start - start) * width..(s.rows.end - start) * width];
    if runs(c) {
        if s.columns.len() < width {
            clear_ends(from, width, &s.columns);
        }
        let len = from.len() - s.columns.start - (width - s.columns.end);
        let to = &mut plane[s.first[0] * width + s.first[1]..][..len];
        to.iter_mut().zip(&from[s.columns.start..]).for_each(|(t, f)| *t += f);
        return;
    }
    for (i, line) in from.chunks_exact(width).enumerate() {
        let to = &mut plane[(s.first[0] + i * c.stride[0]) * c.input[2] + s.first[1]..];
        for (t, f) in to.iter_mut().step_by(c.stride[1]).zip(&line[s.columns.clone()]) {
            *t += f;
        }
    }
}
