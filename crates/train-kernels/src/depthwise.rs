//! Depthwise convolution, plane by plane.
//!
//! In the [`Phases`] of a plane, the convolution of a whole map is one long loop: y = Σ_t w_t·phases[offset_t ..]. The
//! gradients use the same layout: dw_t = ⟨dy, phases[offset_t ..]⟩, and a phase of dx is the correlation of dy with the
//! taps that read this phase, reversed. The pitch leaves enough columns of zeros after each line of dy that no line
//! reaches into the next.

use dyconv_simd::{Buffer, Isa, LANES};

use crate::geometry::{BatchConv, split};
use crate::gradients::Gradients;
use crate::job::{ENOUGH, Scratch, Shared, run, sum_parts};
use crate::mix;
use crate::phases::Phases;

/// Resizes the buffer to `len` zeros.
fn zeroed(buffer: &mut Buffer<f32>, len: usize) -> &mut [f32] {
    let buffer = buffer.ensure_len(len);
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
    let phases = Phases::new(c, 0..c.output()[0]);
    let (channels, kernels) = (c.input[0], bank.len() / c.weights());
    let planes = split(c.batch * channels, (4 * ENOUGH).min(c.batch * channels));
    run(planes.len(), |job, s| {
        let Scratch { columns, product, kernel: mixed, .. } = s;
        let buffer = zeroed(columns, phases.buffer());
        let flat = product.ensure_len(phases.flat);
        let mixed = mixed.ensure_len(c.taps());
        for plane in planes[job].clone() {
            phases.fill(isa, &x[plane * c.input_pixels()..][..c.input_pixels()], buffer);
            let pi = pi.map(|pi| &pi[plane / channels * kernels..][..kernels]);
            mix::taps(isa, buffer, &phases.offsets, kernel(c, bank, pi, plane % channels, mixed), flat);
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
    let phases = Phases::new(c, 0..c.output()[0]);
    let (all, taps, kernels) = (c.input[0], c.taps(), bank.len() / c.weights());
    let runs = split(all, ENOUGH.min(all));
    let Gradients { dx, dbank, dpi } = gradients;
    let dbank = dbank.map(Shared::new);
    let mut dpi_parts = vec![0.0; if dpi.is_some() { runs.len() * c.batch * kernels } else { 0 }];
    let parts = Shared::new(&mut dpi_parts);
    // The taps that read each phase, with their offsets into a reversed dy.
    let readers: Vec<(Vec<usize>, Vec<usize>)> = (0..phases.count())
        .map(|phase| {
            let taps: Vec<usize> = (0..taps).filter(|t| phases.offsets[*t] / phases.len == phase).collect();
            let offsets = taps.iter().map(|t| phases.reach - phases.offsets[*t] % phases.len).collect();
            (taps, offsets)
        })
        .collect();
    run(runs.len(), |job, s| {
        let Scratch { columns, product, kernel: mixed, gradient } = s;
        let buffer = zeroed(columns, phases.buffer());
        let spread = zeroed(gradient, phases.reach + phases.len.max(phases.flat) + phases.reach + LANES);
        let back = product.ensure_len(phases.count() * phases.len);
        let (mixed, chosen) = mixed.ensure_len(3 * taps).split_at_mut(taps);
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
                        mix::taps(isa, spread, offsets, &chosen[..read.len()], back);
                    }
                    // SAFETY: every channel belongs to one job.
                    let dx = unsafe { dx.uninit(plane * c.input_pixels(), c.input_pixels()) };
                    phases.collect(back, dx);
                }
                let Some(dbank) = dbank else { continue };
                phases.fill(isa, &x[plane * c.input_pixels()..][..c.input_pixels()], buffer);
                let g = &mut g[..taps];
                mix::tap_dots(isa, buffer, &phases.offsets, &spread[phases.reach..][..phases.flat], g);
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
        sum_parts(dpi, &dpi_parts);
    }
}
