//! Converts a block of pixels to the columns of a matrix (im2col) and back (col2im).
//!
//! Row (c, i, j) of the matrix holds, for every output pixel of the block, the input under tap (i, j) of channel c, or
//! zero outside the map. Each plane is first rearranged into [`Phases`], in which the inputs of a tap for a line of
//! outputs are contiguous.

use std::cell::Cell;
use std::ops::Range;

use dyconv_simd::{Buffer, Isa};

use crate::geometry::{BatchConv, Block};
use crate::phases::Phases;

/// The phases that a block of rows of a convolution reads, with a buffer for their values.
struct Seen {
    c: BatchConv,
    rows: Range<usize>,
    phases: Phases,
    /// Zero where the planes are padded.
    inputs: Buffer<f32>,
    gradients: Buffer<f32>,
}

thread_local! {
    /// The phases that this thread used last: the samples of a batch need the same ones, one after the other.
    static LAST: Cell<Option<Box<Seen>>> = const { Cell::new(None) };
}

/// Approximate number of phase values that are accumulated together. A channel is accumulated into again only after all
/// others, when the earlier writes have reached memory.
const TOGETHER: usize = 1 << 12;

/// Calls `work` with the phases that rows of a convolution read.
fn with_seen(c: &BatchConv, rows: &Range<usize>, work: impl FnOnce(&mut Seen)) {
    let last = LAST.take().filter(|seen| seen.c == *c && seen.rows == *rows);
    let mut seen = last.unwrap_or_else(|| {
        let phases = Phases::new(c, rows.clone());
        let inputs = Buffer::zeroed(phases.buffer());
        Box::new(Seen { c: *c, rows: rows.clone(), phases, inputs, gradients: Buffer::new() })
    });
    work(&mut seen);
    LAST.set(Some(seen));
}

/// Writes the columns of `channels` into `to` `[channels · taps, pixels of the block]`.
pub(super) fn gather(isa: Isa, c: &BatchConv, x: &[f32], channels: Range<usize>, block: &Block, to: &mut [f32]) {
    let (taps, all, each) = (c.taps(), block.pixels(c), block.pixels_each(c));
    with_seen(c, &block.rows, |Seen { phases, inputs, .. }| {
        for (row, channel) in channels.enumerate() {
            for (i, n) in block.samples.clone().enumerate() {
                let plane = &x[(n * c.input[0] + channel) * c.input_pixels()..][..c.input_pixels()];
                phases.fill(isa, plane, inputs);
                phases.gather(isa, inputs, &mut to[row * taps * all + i * each..(row + 1) * taps * all], all);
            }
        }
    });
}

/// Adds the columns of the `channels` of one sample back to the pixels they came from: `columns` is `[channels · taps,
/// all]`, in which the pixels of the sample start at `at`; `to` is `[channels, H, W]`.
#[allow(clippy::too_many_arguments, reason = "a matrix, a place in it, and where it goes")]
pub(super) fn scatter(
    isa: Isa,
    c: &BatchConv,
    columns: &[f32],
    all: usize,
    at: usize,
    channels: usize,
    rows: &Range<usize>,
    to: &mut [f32],
) {
    let taps = c.taps();
    with_seen(c, rows, |Seen { phases, gradients, .. }| {
        let len = phases.buffer();
        let together = (TOGETHER / len).clamp(1, channels);
        for first in (0..channels).step_by(together) {
            let count = together.min(channels - first);
            let buffer = gradients.ensure_len(count * len);
            buffer.fill(0.0);
            phases.scatter(isa, &columns[first * taps * all + at..], all, buffer);
            for (channel, from) in buffer.chunks_exact(len).enumerate() {
                phases.add(isa, from, &mut to[(first + channel) * c.input_pixels()..][..c.input_pixels()]);
            }
        }
    });
}
