//! Dense convolution with whole kernels: static kernels (K = 1), and mixtures over small maps.
//!
//! Forward, for one block of pixels: Y = Σ_k π_k ⊙ (W_k · columns).
//! Backward, for one run of input channels, block by block: with P_k = W_kᵀ·dY, the gradient of the columns is
//! Σ_k π_k ⊙ P_k, ∂L/∂π_nk is ⟨P_k, columns⟩ over sample n, and ∂L/∂W_k += (π_k ⊙ dY)·columnsᵀ.

use std::ops::Range;

use dyconv_simd::{Buffer, Isa};

use crate::columns::{gather, scatter};
use crate::gemm::{View, gemm};
use crate::geometry::{BatchConv, Block, split};
use crate::gradients::Gradients;
use crate::job::{ENOUGH, Scratch, Shared, run, sum_parts};
use crate::mix;

/// Number of weights of a kernel tile that a backward job accumulates.
const TILE: usize = 1 << 17;

pub(super) fn forward(isa: Isa, c: &BatchConv, x: &[f32], pi: Option<&[f32]>, bank: &[f32], y: Shared<'_>) {
    let blocks = c.blocks(0..c.batch);
    let outputs = split(c.group_out(), ENOUGH.div_ceil(blocks.len() * c.groups).min(c.group_out().div_ceil(16)));
    let forward = Forward { isa, c, x, pi, bank, y };
    if outputs.len() == 1 {
        run(blocks.len() * c.groups, |job, s| {
            let (group, block) = (job % c.groups, &blocks[job / c.groups]);
            let columns = forward.columns(group, block, &mut s.columns);
            forward.block(group, block, &outputs[0], columns, &mut s.product, &mut s.gradient);
        });
        return;
    }
    // Too few blocks for all threads: they gather the columns of one block together, then share its output channels.
    let mut columns = Buffer::new();
    for (group, block) in (0..c.groups).flat_map(|group| blocks.iter().map(move |block| (group, block))) {
        let seen = forward.gather_together(group, block, &mut columns);
        run(outputs.len(), |job, s| {
            forward.block(group, block, &outputs[job], seen, &mut s.product, &mut s.gradient);
        });
    }
}

/// State shared by all jobs of the forward pass.
struct Forward<'a> {
    isa: Isa,
    c: &'a BatchConv,
    x: &'a [f32],
    pi: Option<&'a [f32]>,
    bank: &'a [f32],
    y: Shared<'a>,
}

impl Forward<'_> {
    fn channels(&self, group: usize) -> Range<usize> {
        group * self.c.group_in()..(group + 1) * self.c.group_in()
    }

    /// Whether the feature maps themselves are the columns.
    fn plain(&self, block: &Block) -> bool {
        self.c.is_pointwise() && block.samples.len() == 1 && self.pi.is_none()
    }

    /// The columns of a block, gathered into `to` if necessary.
    fn columns<'b>(&'b self, group: usize, block: &Block, to: &'b mut Buffer<f32>) -> &'b [f32] {
        let channels = self.channels(group);
        if self.plain(block) {
            return &self.x[(block.samples.start * self.c.input[0] + channels.start) * self.c.pixels()..];
        }
        let to = to.ensure_len(self.c.row() * block.pixels(self.c));
        gather(self.isa, self.c, self.x, channels, block, to);
        to
    }

    /// Like [`Forward::columns`], on all threads.
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    fn gather_together<'b>(&'b self, group: usize, block: &Block, to: &'b mut Buffer<f32>) -> &'b [f32] {
        if self.plain(block) {
            return self.columns(group, block, to);
        }
        let (channels, each) = (self.channels(group), self.c.taps() * block.pixels(self.c));
        let to = to.ensure_len(channels.len() * each);
        let shared = Shared::new(to);
        let runs = split(channels.len(), ENOUGH.min(channels.len()));
        run(runs.len(), |job, _| {
            let run = &runs[job];
            // SAFETY: every channel belongs to one job.
            let to = unsafe { shared.slice(run.start * each, run.len() * each) };
            gather(self.isa, self.c, self.x, channels.start + run.start..channels.start + run.end, block, to);
        });
        to
    }

    /// Computes the output channels `outputs` of a group over a block.
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    fn block(
        &self,
        group: usize,
        block: &Block,
        outputs: &Range<usize>,
        columns: &[f32],
        sums: &mut Buffer<f32>,
        one: &mut Buffer<f32>,
    ) {
        let c = self.c;
        let (row, all, each, pixels) = (c.row(), block.pixels(c), block.pixels_each(c), c.pixels());
        let first = group * c.group_out() + outputs.start;
        let kernels = self.bank.len() / c.weights();
        let weight = |k: usize| View::new(&self.bank[k * c.weights() + first * row..], outputs.len(), row, row);
        if block.samples.len() == 1 && self.pi.is_none() {
            let at = (block.samples.start * c.out_channels + first) * pixels + block.rows.start * c.output()[1];
            let columns = View::new(columns, row, all, if self.plain(block) { pixels } else { all });
            // SAFETY: these rows of these output channels of this sample belong to this job alone.
            unsafe { self.y.gemm(self.isa, at, pixels, [outputs.len(), all], false, weight(0), columns) };
            return;
        }
        let columns = View::new(columns, row, all, all);
        let sums = sums.ensure_len(outputs.len() * all);
        match self.pi {
            None => gemm(self.isa, sums, all, false, weight(0), columns),
            Some(pi) => {
                sums.fill(0.0);
                let one = one.ensure_len(outputs.len() * all);
                for k in 0..kernels {
                    gemm(self.isa, one, all, false, weight(k), columns);
                    for (sums, one) in sums.chunks_exact_mut(all).zip(one.chunks_exact(all)) {
                        let samples = sums.chunks_exact_mut(each).zip(one.chunks_exact(each));
                        for (n, (sums, one)) in block.samples.clone().zip(samples) {
                            let p = pi[n * kernels + k];
                            sums.iter_mut().zip(one).for_each(|(s, v)| *s += p * v);
                        }
                    }
                }
            }
        }
        for (o, sums) in sums.chunks_exact(all).enumerate() {
            for (n, from) in block.samples.clone().zip(sums.chunks_exact(each)) {
                let at = (n * c.out_channels + first + o) * pixels + block.rows.start * c.output()[1];
                // SAFETY: as above.
                unsafe { self.y.copy(at, from) };
            }
        }
    }
}

/// Scales the columns of sample i by the i-th coefficient; each row of `all` values has `each` columns per sample.
fn scale_samples(
    from: &[f32],
    coefficients: impl Iterator<Item = f32> + Clone,
    each: usize,
    to: &mut [f32],
    all: usize,
) {
    for (from, to) in from.chunks_exact(all).zip(to.chunks_exact_mut(all)) {
        for ((from, to), p) in from.chunks_exact(each).zip(to.chunks_exact_mut(each)).zip(coefficients.clone()) {
            to.iter_mut().zip(from).for_each(|(t, f)| *t = p * f);
        }
    }
}

pub(super) fn backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: Option<&[f32]>,
    bank: &[f32],
    dy: &[f32],
    gradients: Gradients<'_>,
) {
    let kernels = bank.len() / c.weights();
    let run_length = (TILE / (c.group_out() * c.taps() * kernels)).clamp(16, 512);
    let runs = split(c.group_in(), c.group_in().div_ceil(run_length));
    let samples = c.sample_runs(ENOUGH.div_ceil(runs.len() * c.groups));
    let Gradients { dx, dbank, dpi } = gradients;
    let jobs = c.groups * runs.len() * samples.len();
    let mut dpi_parts = vec![0.0; if dpi.is_some() { jobs * c.batch * kernels } else { 0 }];
    let parts = Shared::new(&mut dpi_parts);
    let mut partial = vec![0.0; if dbank.is_some() && samples.len() > 1 { samples.len() * bank.len() } else { 0 }];
    let mut dbank = dbank;
    let to = match dbank.as_deref_mut() {
        Some(dbank) if samples.len() == 1 => Some(Shared::new(dbank)),
        Some(_) => Some(Shared::new(&mut partial)),
        None => None,
    };
    run(jobs, |job, scratch| {
        let (group, rest) = (job % c.groups, job / c.groups);
        let (part, channels) = (rest / runs.len(), &runs[rest % runs.len()]);
        let backward = Backward {
            isa,
            c,
            x,
            pi: pi.map(|pi| (pi, job * c.batch * kernels, parts)),
            bank,
            dy,
            dx,
            dbank: to.map(|to| (to, part * bank.len())),
            group,
            channels: channels.start + group * c.group_in()..channels.end + group * c.group_in(),
        };
        for (i, block) in c.blocks(samples[part].clone()).iter().enumerate() {
            backward.block(block, i == 0, scratch);
        }
    });
    if let (Some(dbank), true) = (dbank, samples.len() > 1) {
        sum_parts(dbank, &partial);
    }
    if let Some(dpi) = dpi {
        sum_parts(dpi, &dpi_parts);
    }
}

/// One job of the backward pass: a run of input channels.
struct Backward<'a> {
    isa: Isa,
    c: &'a BatchConv,
    x: &'a [f32],
    /// π, and where this job accumulates ∂L/∂π.
    pi: Option<(&'a [f32], usize, Shared<'a>)>,
    bank: &'a [f32],
    dy: &'a [f32],
    dx: Option<Shared<'a>>,
    /// Where the bank gradient of this job starts.
    dbank: Option<(Shared<'a>, usize)>,
    group: usize,
    channels: Range<usize>,
}

impl Backward<'_> {
    #[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
    fn block(&self, block: &Block, first: bool, s: &mut Scratch) {
        let c = self.c;
        let (all, each, pixels, taps) = (block.pixels(c), block.pixels_each(c), c.pixels(), c.taps());
        let (row, outputs, weights) = (c.row(), c.group_out(), c.weights());
        let kernels = self.bank.len() / weights;
        let rows = self.channels.len() * taps;
        let single = block.samples.len() == 1;
        let plain = c.is_pointwise() && single && self.pi.is_none();
        let output = |n: usize| (n * c.out_channels + self.group * outputs) * pixels + block.rows.start * c.output()[1];
        let input = |n: usize| (n * c.input[0] + self.channels.start) * c.input_pixels();
        let start = block.samples.start;
        if !single {
            let to = s.product.ensure_len(outputs * all);
            for (o, to) in to.chunks_exact_mut(all).enumerate() {
                for (n, to) in block.samples.clone().zip(to.chunks_exact_mut(each)) {
                    to.copy_from_slice(&self.dy[output(n) + o * pixels..][..each]);
                }
            }
        }
        if !plain && (self.dbank.is_some() || self.pi.is_some()) {
            gather(self.isa, c, self.x, self.channels.clone(), block, s.columns.ensure_len(rows * all));
        }
        // Start of the weights of this run of channels in kernel k.
        let weight_at = |k: usize| {
            k * weights + self.group * outputs * row + (self.channels.start - self.group * c.group_in()) * taps
        };
        for k in 0..kernels {
            let dy = match single {
                true => View::new(&self.dy[output(start)..], outputs, all, pixels),
                false => View::new(&s.product, outputs, all, all),
            };
            let weight = View::new(&self.bank[weight_at(k)..], outputs, rows, row).t();
            if let (true, Some(dx)) = (plain, self.dx) {
                // SAFETY: these channels of this sample belong to this job alone.
                unsafe { dx.gemm(self.isa, input(start), pixels, [rows, all], false, weight, dy) };
            } else if self.dx.is_some() || self.pi.is_some() {
                let back = s.gradient.ensure_len(rows * all);
                gemm(self.isa, back, all, false, weight, dy);
                if let Some((pi, at, parts)) = self.pi {
                    // SAFETY: every job has its own part.
                    let parts = unsafe { parts.slice(at, c.batch * kernels) };
                    for (i, n) in block.samples.clone().enumerate() {
                        let (back, columns) = (&mut back[i * each..], &s.columns[i * each..]);
                        let dot = &mut parts[n * kernels + k];
                        mix::weigh(self.isa, back, columns, [rows, all, each], pi[n * kernels + k], dot);
                    }
                }
                if let Some(dx) = self.dx {
                    for (i, n) in block.samples.clone().enumerate() {
                        let len = self.channels.len() * c.input_pixels();
                        let first = k == 0 && block.rows.start == 0;
                        // SAFETY: as above; zeros come first.
                        let to = unsafe { if first { dx.zeroed(input(n), len) } else { dx.slice(input(n), len) } };
                        scatter(self.isa, c, back, all, i * each, self.channels.len(), &block.rows, to);
                    }
                }
            }
            let Some((to, at)) = self.dbank else { continue };
            let columns = match plain {
                true => View::new(&self.x[input(start)..], rows, all, pixels),
                false => View::new(&s.columns, rows, all, all),
            };
            let dy = match self.pi {
                Some((pi, ..)) => {
                    let scaled = s.kernel.ensure_len(outputs * all);
                    let coefficients = block.samples.clone().map(|n| pi[n * kernels + k]);
                    if single {
                        let p = pi[start * kernels + k];
                        for (to, from) in scaled.chunks_exact_mut(all).zip(self.dy[output(start)..].chunks(pixels)) {
                            to.iter_mut().zip(from).for_each(|(t, f)| *t = p * f);
                        }
                    } else {
                        scale_samples(&s.product, coefficients, each, scaled, all);
                    }
                    View::new(scaled, outputs, all, all)
                }
                None => dy,
            };
            // SAFETY: the columns of this run of channels, in this part of the gradient, belong to this job alone.
            unsafe { to.gemm(self.isa, at + weight_at(k), row, [outputs, rows], !first, dy, columns.t()) };
        }
    }
}
