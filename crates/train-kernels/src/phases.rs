//! Planes divided into phases by the stride: the polyphase form of a strided convolution.
//!
//! A plane is copied with its padding into *phases*: one plane for each remainder of (row, column) modulo the stride,
//! all with the same pitch. In them, tap t of output (r, c) is at offset_t + r·pitch + c for any stride, so the inputs
//! of a tap for a line of outputs are contiguous.

use std::mem::MaybeUninit;
use std::ops::Range;

use dyconv_simd::{Isa, LANES, Lanes, dispatch, lanes, lanes_mut};

use crate::geometry::BatchConv;

/// Layout of the phases of one plane.
pub(super) struct Phases {
    /// Number of output rows and columns.
    pub output: [usize; 2],
    /// Distance in values from one line to the next.
    pub pitch: usize,
    /// Length of one phase, a multiple of the lanes.
    pub len: usize,
    /// Length of an output map with this pitch, a multiple of the lanes.
    pub flat: usize,
    /// Offset of each tap in the buffer of all phases.
    pub offsets: Vec<usize>,
    /// Largest offset within a phase.
    pub reach: usize,
    /// Number of phases.
    count: usize,
    /// Distance in columns from one value of a phase to the next.
    step: usize,
    pieces: Vec<Piece>,
}

/// The part of an input line that belongs to one phase.
struct Piece {
    /// Index of the first value in the plane.
    from: usize,
    /// Index of the first value in the phases.
    to: usize,
    columns: usize,
}

impl Phases {
    /// The phases that the output rows `rows` read.
    pub fn new(c: &BatchConv, rows: Range<usize>) -> Self {
        let output = [rows.len(), c.output()[1]];
        let last = [0, 1].map(|a| c.dilation[a] * (c.kernel[a] - 1) / c.stride[a]);
        let (heights, pitch) = (output[0] + last[0], output[1] + last[1]);
        let len = (heights * pitch).next_multiple_of(LANES);
        let offset = |t: usize| {
            let at = [t / c.kernel[1] * c.dilation[0], t % c.kernel[1] * c.dilation[1]];
            let phase = at[0] % c.stride[0] * c.stride[1] + at[1] % c.stride[1];
            phase * len + at[0] / c.stride[0] * pitch + at[1] / c.stride[1]
        };
        let [_, h, w] = c.input;
        let mut pieces = Vec::new();
        for row in (rows.start * c.stride[0]).saturating_sub(c.padding[0])..h {
            let (line, a) = ((row + c.padding[0]) / c.stride[0] - rows.start, (row + c.padding[0]) % c.stride[0]);
            if line >= heights {
                break;
            }
            for b in 0..c.stride[1] {
                // The first input column whose padded column has remainder b.
                let first = (b + c.stride[1] - c.padding[1] % c.stride[1]) % c.stride[1];
                let column = (first + c.padding[1]) / c.stride[1];
                if first < w && column < pitch {
                    let columns = (w - first).div_ceil(c.stride[1]).min(pitch - column);
                    let to = (a * c.stride[1] + b) * len + line * pitch + column;
                    pieces.push(Piece { from: row * w + first, to, columns });
                }
            }
        }
        Self {
            output,
            pitch,
            len,
            flat: (output[0] * pitch).next_multiple_of(LANES),
            offsets: (0..c.taps()).map(offset).collect(),
            reach: last[0] * pitch + last[1],
            count: c.stride[0] * c.stride[1],
            step: c.stride[1],
            pieces,
        }
    }

    /// Number of phases.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of the buffer of all phases, including what long loops read past the end.
    pub fn buffer(&self) -> usize {
        self.count * self.len + self.reach + LANES
    }

    /// Copies a plane into phases that are initially zero: their padding is never written.
    pub fn fill(&self, isa: Isa, plane: &[f32], to: &mut [f32]) {
        let phases = self;
        dispatch!(isa, fill_body(phases: &Phases, plane: &[f32], to: &mut [f32]));
    }

    /// The reverse of [`Phases::fill`]: writes a plane. Inputs that no output reads become zero.
    pub fn collect(&self, from: &[f32], plane: &mut [MaybeUninit<f32>]) {
        if self.pieces.iter().map(|p| p.columns).sum::<usize>() < plane.len() {
            plane.fill(MaybeUninit::new(0.0));
        }
        for p in &self.pieces {
            let (from, to) = (&from[p.to..][..p.columns], &mut plane[p.from..]);
            match self.step {
                1 => _ = to[..p.columns].write_copy_of_slice(from),
                2 => to.chunks_mut(2).zip(from).for_each(|(t, f)| t[0] = MaybeUninit::new(*f)),
                _ => to.iter_mut().step_by(self.step).zip(from).for_each(|(t, f)| *t = MaybeUninit::new(*f)),
            }
        }
    }

    /// Adds the phases to the plane that they represent.
    pub fn add(&self, isa: Isa, from: &[f32], plane: &mut [f32]) {
        let phases = self;
        dispatch!(isa, add_body(phases: &Phases, from: &[f32], plane: &mut [f32]));
    }

    /// Copies the inputs of each tap for every output, tap by tap, `step` values apart.
    pub fn gather(&self, isa: Isa, from: &[f32], to: &mut [f32], step: usize) {
        let phases = self;
        dispatch!(isa, gather_body(phases: &Phases, from: &[f32], to: &mut [f32], step: usize));
    }

    /// Adds the values of each tap for every output to the phases of several planes, one after the other. The taps of a
    /// plane, and then those of the next, are `step` values apart.
    pub fn scatter(&self, isa: Isa, from: &[f32], step: usize, to: &mut [f32]) {
        let phases = self;
        dispatch!(isa, scatter_body(phases: &Phases, from: &[f32], step: usize, to: &mut [f32]));
    }
}

#[inline(always)]
fn fill_body<L: Lanes>(l: L, phases: &Phases, plane: &[f32], to: &mut [f32]) {
    for p in &phases.pieces {
        let (from, to) = (&plane[p.from..], &mut to[p.to..][..p.columns]);
        match phases.step {
            1 => copy(l, &from[..p.columns], to),
            2 => {
                for (t, f) in to.iter_mut().zip(from.chunks(2)) {
                    *t = f[0];
                }
            }
            step => {
                for (t, f) in to.iter_mut().zip(from.iter().step_by(step)) {
                    *t = *f;
                }
            }
        }
    }
}

#[inline(always)]
fn add_body<L: Lanes>(l: L, phases: &Phases, from: &[f32], plane: &mut [f32]) {
    for p in &phases.pieces {
        let (from, to) = (&from[p.to..][..p.columns], &mut plane[p.from..]);
        match phases.step {
            1 => add(l, from, &mut to[..p.columns]),
            2 => {
                for (t, f) in to.chunks_mut(2).zip(from) {
                    t[0] += *f;
                }
            }
            step => {
                for (t, f) in to.iter_mut().step_by(step).zip(from) {
                    *t += *f;
                }
            }
        }
    }
}

#[inline(always)]
fn gather_body<L: Lanes>(l: L, phases: &Phases, from: &[f32], to: &mut [f32], step: usize) {
    let [rows, width] = phases.output;
    for (offset, to) in phases.offsets.iter().zip(to.chunks_mut(step)) {
        for row in 0..rows {
            copy(l, &from[offset + row * phases.pitch..][..width], &mut to[row * width..][..width]);
        }
    }
}

#[inline(always)]
fn scatter_body<L: Lanes>(l: L, phases: &Phases, from: &[f32], step: usize, to: &mut [f32]) {
    let [rows, width] = phases.output;
    let taps = phases.offsets.len();
    for (tap, offset) in phases.offsets.iter().enumerate() {
        for (plane, to) in to.chunks_exact_mut(phases.buffer()).enumerate() {
            let from = &from[(plane * taps + tap) * step..][..rows * width];
            for row in 0..rows {
                add(l, &from[row * width..][..width], &mut to[offset + row * phases.pitch..][..width]);
            }
        }
    }
}

/// Copies a line; most lines are short.
#[inline(always)]
fn copy<L: Lanes>(l: L, from: &[f32], to: &mut [f32]) {
    let whole = to.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        l.store(l.load(lanes(from, i)), lanes_mut(to, i));
    }
    if whole < to.len() {
        l.store_partial(l.load_partial(&from[whole..]), &mut to[whole..]);
    }
}

/// Adds a line to another.
#[inline(always)]
fn add<L: Lanes>(l: L, from: &[f32], to: &mut [f32]) {
    let whole = to.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        let to = lanes_mut(to, i);
        l.store(l.add(l.load(to), l.load(lanes(from, i))), to);
    }
    if whole < to.len() {
        let to = &mut to[whole..];
        l.store_partial(l.add(l.load_partial(to), l.load_partial(&from[whole..])), to);
    }
}
