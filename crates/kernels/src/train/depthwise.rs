//! Depthwise convolution plane by plane.
//!
//! A plane is copied with its padding into *phases*: one plane for each remainder of (row, column) by the stride, all with
//! the same pitch. There tap t of output (r, c) stands at offset_t + r·pitch + c, whatever the stride, so a whole map is
//! one long loop: y = Σ_t w_t·phases[offset_t ..]. The gradients use the same layout: dw_t = ⟨dy, phases[offset_t ..]⟩,
//! and a phase of dx is the correlation of dy with the taps that read this phase, reversed. The pitch leaves so many
//! columns of zeros after each line of dy that no line reaches into the next.

use std::mem::MaybeUninit;

use super::geometry::{BatchConv, split};
use super::job::{ENOUGH, Scratch, Shared, add_up, run};
use super::{Gradients, bulk};
use crate::Isa;
use crate::buffer::Buffer;
use crate::lanes::LANES;

/// Where everything stands in the phases of one plane.
struct Phases {
    /// Output `[H', W']`.
    output: [usize; 2],
    /// Values from one line to the next.
    pitch: usize,
    /// Values of one phase, a multiple of the lanes.
    len: usize,
    /// Values of an output map at the pitch, a multiple of the lanes.
    flat: usize,
    /// Offset of each tap among all phases.
    offsets: Vec<usize>,
    /// Largest offset inside a phase.
    reach: usize,
}

impl Phases {
    fn new(c: &BatchConv) -> Self {
        let output = c.output();
        let last = [0, 1].map(|a| c.dilation[a] * (c.kernel[a] - 1) / c.stride[a]);
        let pitch = output[1] + last[1];
        let len = ((output[0] + last[0]) * pitch).next_multiple_of(LANES);
        let offset = |t: usize| {
            let at = [t / c.kernel[1] * c.dilation[0], t % c.kernel[1] * c.dilation[1]];
            let phase = at[0] % c.stride[0] * c.stride[1] + at[1] % c.stride[1];
            phase * len + at[0] / c.stride[0] * pitch + at[1] / c.stride[1]
        };
        let offsets: Vec<usize> = (0..c.taps()).map(offset).collect();
        let flat = (output[0] * pitch).next_multiple_of(LANES);
        Self { output, pitch, len, flat, offsets, reach: last[0] * pitch + last[1] }
    }

    fn count(c: &BatchConv) -> usize {
        c.stride[0] * c.stride[1]
    }

    /// Values of all phases, with what long loops read past the end.
    fn buffer(&self, c: &BatchConv) -> usize {
        Self::count(c) * self.len + self.reach + LANES
    }

    /// Calls `line(input row, first input column, phase line, columns)` for each piece of an input line in each phase.
    fn lines(&self, c: &BatchConv, mut line: impl FnMut(usize, usize, usize, usize)) {
        let [_, h, w] = c.input;
        let heights = self.len / self.pitch;
        for row in 0..h {
            let (padded, a) = ((row + c.padding[0]) / c.stride[0], (row + c.padding[0]) % c.stride[0]);
            if padded >= heights {
                break;
            }
            for b in 0..c.stride[1] {
                // First input column whose padded column leaves remainder b.
                let first = (b + c.stride[1] - c.padding[1] % c.stride[1]) % c.stride[1];
                let column = (first + c.padding[1]) / c.stride[1];
                if first >= w || column >= self.pitch {
                    continue;
                }
                let columns = (w - first).div_ceil(c.stride[1]).min(self.pitch - column);
                line(row, first, (a * c.stride[1] + b) * self.len + padded * self.pitch + column, columns);
            }
        }
    }

    /// Copies a plane into phases that were zero at first: their padding is never written.
    fn fill(&self, c: &BatchConv, plane: &[f32], to: &mut [f32]) {
        let (w, step) = (c.input[2], c.stride[1]);
        self.lines(c, |row, first, at, columns| {
            let from = &plane[row * w + first..(row + 1) * w];
            let to = &mut to[at..at + columns];
            match step {
                1 => to.copy_from_slice(&from[..columns]),
                2 => to.iter_mut().zip(from.chunks(2)).for_each(|(t, f)| *t = f[0]),
                _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(t, f)| *t = *f),
            }
        });
    }

    /// The reverse of [`Phases::fill`]: writes a plane; input that no output reads becomes zero.
    fn collect(&self, c: &BatchConv, from: &[f32], plane: &mut [MaybeUninit<f32>]) {
        let (w, step) = (c.input[2], c.stride[1]);
        let mut read = 0;
        self.lines(c, |_, _, _, columns| read += columns);
        if read < plane.len() {
            plane.fill(MaybeUninit::new(0.0));
        }
        self.lines(c, |row, first, at, columns| {
            let to = &mut plane[row * w + first..(row + 1) * w];
            let from = &from[at..at + columns];
            match step {
                1 => _ = to[..columns].write_copy_of_slice(from),
                2 => to.chunks_mut(2).zip(from).for_each(|(t, f)| t[0] = MaybeUninit::new(*f)),
                _ => to.iter_mut().step_by(step).zip(from).for_each(|(t, f)| *t = MaybeUninit::new(*f)),
            }
        });
    }
}

/// `len` zeros.
fn zeroed(buffer: &mut Buffer<f32>, len: usize) -> &mut [f32] {
    let buffer = buffer.room(len);
    buffer.fill(0.0);
    buffer
}

/// The kernel of one channel: `[taps]` of a bank `[K, C, taps]`, mixed by the sample's π.
fn kernel<'a>(c: &BatchConv, bank: &'a [f32], pi: Option<&[f32]>, channel: usize, mixed: &'a mut [f32]) -> &'a [f32] {
    let taps = c.taps();
    let at = |k: usize| &bank[k * c.weights() + channel * taps..][..taps];
    let Some(pi) = pi else { return at(0) };
    mixed.fill(0.0);
    for (k, p) in pi.iter().enumerate() {
        mixed.iter_mut().zip(at(k)).for_each(|(m, w)| *m += p * w);
    }
    mixed
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub(super) fn forward(isa: Isa, c: &BatchConv, x: &[f32], pi: Option<&[f32]>, bank: &[f32], y: Shared<'_>) {
    let phases = Phases::new(c);
    let (channels, kernels) = (c.input[0], bank.len() / c.weights());
    let planes = split(c.batch * channels, (4 * ENOUGH).min(c.batch * channels));
    run(planes.len(), |job, s| {
        let Scratch { columns, product, kernel: mixed, .. } = s;
        let buffer = zeroed(columns, phases.buffer(c));
        let flat = product.room(phases.flat);
        let mixed = mixed.room(c.taps());
        for plane in planes[job].clone() {
            phases.fill(c, &x[plane * c.input_pixels()..][..c.input_pixels()], buffer);
            let pi = pi.map(|pi| &pi[plane / channels * kernels..][..kernels]);
            bulk::taps(isa, buffer, &phases.offsets, kernel(c, bank, pi, plane % channels, mixed), flat);
            for (row, from) in flat.chunks(phases.pitch).take(phases.output[0]).enumerate() {
                let from = &from[..phases.output[1]];
                // SAFETY: every plane belongs to one job.
                unsafe { y.copy(plane * c.pixels() + row * from.len(), from) };
            }
        }
    });
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
pub(super) fn backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: Option<&[f32]>,
    bank: &[f32],
    dy: &[f32],
    gradients: Gradients<'_>,
) {
    let phases = Phases::new(c);
    let (all, taps, kernels) = (c.input[0], c.taps(), bank.len() / c.weights());
    let runs = split(all, ENOUGH.min(all));
    let Gradients { dx, dbank, dpi } = gradients;
    let dbank = dbank.map(Shared::new);
    let mut dpi_parts = vec![0.0; if dpi.is_some() { runs.len() * c.batch * kernels } else { 0 }];
    let parts = Shared::new(&mut dpi_parts);
    // Taps that read each phase, with their offsets into a reversed dy.
    let readers: Vec<(Vec<usize>, Vec<usize>)> = (0..Phases::count(c))
        .map(|phase| {
            let taps: Vec<usize> = (0..taps).filter(|t| phases.offsets[*t] / phases.len == phase).collect();
            let offsets = taps.iter().map(|t| phases.reach - phases.offsets[*t] % phases.len).collect();
            (taps, offsets)
        })
        .collect();
    run(runs.len(), |job, s| {
        let Scratch { columns, product, kernel: mixed, gradient } = s;
        let buffer = zeroed(columns, phases.buffer(c));
        let spread = zeroed(gradient, phases.reach + phases.len.max(phases.flat) + phases.reach + LANES);
        let back = product.room(Phases::count(c) * phases.len);
        let (mixed, chosen) = mixed.room(3 * taps).split_at_mut(taps);
        let (chosen, g) = chosen.split_at_mut(taps);
        for n in 0..c.batch {
            for channel in runs[job].clone() {
                let plane = n * all + channel;
                let lines = dy[plane * c.pixels()..][..c.pixels()].chunks_exact(phases.output[1]);
                for (line, to) in lines.zip(spread[phases.reach..].chunks_mut(phases.pitch)) {
                    to[..line.len()].copy_from_slice(line);
                }
                let sample = pi.map(|pi| &pi[n * kernels..][..kernels]);
                if let Some(dx) = dx {
                    let weights = kernel(c, bank, sample, channel, mixed);
                    for ((read, offsets), back) in readers.iter().zip(back.chunks_exact_mut(phases.len)) {
                        read.iter().zip(&mut *chosen).for_each(|(t, w)| *w = weights[*t]);
                        bulk::taps(isa, spread, offsets, &chosen[..read.len()], back);
                    }
                    // SAFETY: every channel belongs to one job.
                    let dx = unsafe { dx.fresh(plane * c.input_pixels(), c.input_pixels()) };
                    phases.collect(c, back, dx);
                }
                let Some(dbank) = dbank else { continue };
                phases.fill(c, &x[plane * c.input_pixels()..][..c.input_pixels()], buffer);
                let g = &mut g[..taps];
                bulk::tap_dots(isa, buffer, &phases.offsets, &spread[phases.reach..][..phases.flat], g);
                for k in 0..kernels {
                    let at = k * c.weights() + channel * taps;
                    let p = sample.map_or(1.0, |pi| pi[k]);
                    // SAFETY: as above.
                    let to = unsafe { dbank.slice(at, taps) };
                    if n == 0 {
                        to.fill(0.0);
                    }
                    to.iter_mut().zip(&*g).for_each(|(t, g)| *t += p * g);
                    if sample.is_some() {
                        // SAFETY: every job has its own part.
                        let d = unsafe { parts.slice((job * c.batch + n) * kernels + k, 1) };
                        d[0] += bank[at..][..taps].iter().zip(&*g).map(|(w, g)| w * g).sum::<f32>();
                    }
                }
            }
        }
    });
    if let Some(dpi) = dpi {
        add_up(dpi, &dpi_parts);
    }
}
