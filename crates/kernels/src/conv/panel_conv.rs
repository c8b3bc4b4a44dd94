//! A convolution of any geometry, packed once and run many times.

use dyconv_simd::{Isa, LANES};

use super::job::Job;
use super::pad::{Padded, pad};
use super::rounding::round_map;
use super::shape::Shape;
use crate::bank::{Bank, Packer, Storage};
use crate::exec::Exec;
use crate::geometry::ConvGeometry;
use crate::run::ConvRun;

/// A convolution of fixed sizes with any groups, stride, padding and dilation.
#[derive(Debug, Clone)]
pub struct PanelConv {
    pub(super) isa: Isa,
    pub(super) shape: Shape,
}

impl PanelConv {
    /// Creates a convolution of these sizes for an instruction set.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    pub fn new(geometry: ConvGeometry, isa: Isa) -> Self {
        let [_, ow, o] = geometry.output();
        Self { isa, shape: Shape::new(geometry, isa, false, geometry.padded(), [o, ow * o]) }
    }

    /// Like [`new`](Self::new), but rounds input and kernels to bf16. Products are summed in f32.
    ///
    /// # Panics
    /// If there is more than one group.
    pub fn rounding(geometry: ConvGeometry, isa: Isa) -> Self {
        assert_eq!(geometry.groups, 1, "products of bf16 only without groups");
        let [_, ow, o] = geometry.output();
        Self { isa, shape: Shape::new(geometry, isa, true, geometry.padded(), [o, ow * o]) }
    }

    /// Whether the pixels of the input may lie apart: [`PixelSteps::x`](crate::PixelSteps::x).
    pub fn reads_apart(&self) -> bool {
        let g = &self.shape.geometry;
        g.kernel == [1, 1] || g.pads() || self.shape.rounds
    }

    /// Whether input and kernels are rounded to bf16.
    pub fn rounds(&self) -> bool {
        self.shape.rounds
    }

    /// Packs a bank `[K, O, C/groups, kh, kw]` into panels `[panel, kh, kw, C/groups, width, 16]`, padded with zeros.
    /// For bf16 the layout is `[panel, kh, kw, ⌈C/2⌉, width, 16, 2]`, where the last axis holds two adjacent channels.
    ///
    /// # Panics
    /// If the length is not that of K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32], storage: Storage) -> Bank {
        self.packer(kernels, weight, storage).finish()
    }

    /// Packs a kernel `[O, C/groups, kh, kw]` that is never mixed; for bf16 it is also rounded.
    ///
    /// # Panics
    /// If the length does not match.
    pub fn pack_fixed(&self, weight: &[f32]) -> Bank {
        let packer = self.packer(1, weight, Storage::F32);
        if self.shape.rounds { packer.finish_rounded() } else { packer.finish() }
    }

    fn packer(&self, kernels: usize, weight: &[f32], storage: Storage) -> Packer {
        let g = &self.shape.geometry;
        assert_eq!(weight.len(), kernels * g.weight_len(), "a bank [K, O, C/groups, kh, kw]");
        let mut packer = Packer::new(kernels, self.shape.columns().collect(), storage);
        for (k, kernel) in weight.chunks_exact(g.weight_len()).enumerate() {
            self.shape.pack_kernel(&mut packer, k, kernel);
        }
        packer
    }

    /// Scratch size in values for [`run`](Self::run) on `threads` threads, given whether kernels are mixed or the input
    /// is scaled.
    pub fn scratch_len(&self, mixes: bool, threads: usize) -> usize {
        self.shape.padded_len().next_multiple_of(LANES) + if mixes { self.shape.mixed_len() * threads } else { 0 }
    }

    /// Length of [`ConvRun::sums`]. Only convolutions without groups support sums.
    pub fn sums_len(&self) -> usize {
        (self.shape.chunks.len() - 1) * self.shape.geometry.out_channels.next_multiple_of(LANES)
    }

    /// Runs the convolution; `bank` comes from [`pack`](Self::pack) or [`pack_fixed`](Self::pack_fixed).
    ///
    /// # Panics
    /// If a length does not match, a rounded bank is to be mixed, or the instruction set is not that of
    /// [`new`](Self::new).
    pub fn run(&self, exec: Exec<'_>, run: ConvRun<'_>) {
        let (g, threads) = (&self.shape.geometry, exec.pool.threads());
        // In bf16 the factors scale the input; in f32 they scale the kernels, which are otherwise not copied.
        let fixed = if self.shape.rounds { run.bank.rounded() } else { run.bank.single() };
        let scales_kernels = !self.shape.rounds && !run.input_scale.is_empty();
        let mixes = fixed.is_none() || !run.coefficients.is_empty() || scales_kernels;
        run.check(g, self.shape.vectors(), self.sums_len(), self.scratch_len(mixes, threads));
        assert!(run.sums.is_empty() || g.groups == 1, "sums only without groups");
        assert!(run.input_scale.is_empty() || g.groups == 1, "input factors only without groups");
        assert!(run.bank.rounded().is_none() || !mixes, "a kernel that is never mixed");
        assert_eq!(self.isa.name(), exec.isa.name(), "the instruction set that the panels are made for");
        let [x_step, residual_step, y_step] = run.steps.of(g);
        assert!(x_step == g.input[2] || self.reads_apart(), "the pixels of the input lie side by side");
        let map = Padded { map: g.input, step: x_step, begin: g.padding, whole: [g.padded()[0], g.padded()[1]] };
        let (padded, mixed) = run.scratch.split_at_mut(self.shape.padded_len().next_multiple_of(LANES));
        let (x, x_step) = if self.shape.rounds {
            let to = &mut padded[..self.shape.padded_len()];
            round_map(exec, map, run.input_scale, run.x, to);
            (&*to, self.shape.padded[2])
        } else if self.shape.pads() {
            pad(exec, map, run.x, padded);
            (&padded[..self.shape.padded_len()], self.shape.padded[2])
        } else {
            (run.x, x_step)
        };
        let job = Job {
            shape: &self.shape,
            parts: threads,
            bank: run.bank,
            // A single kernel that must be scaled is mixed with coefficient one.
            coefficients: if run.coefficients.is_empty() { &[1.0] } else { run.coefficients },
            fixed: if mixes { None } else { fixed },
            input_scale: if scales_kernels { run.input_scale } else { &[] },
            bias: run.epilogue.bias,
            activation: run.epilogue.activation,
            x,
            x_step,
            residual_step,
            out: [y_step, g.output()[1] * y_step],
            residual: if run.residual.is_empty() { std::ptr::null() } else { run.residual.as_ptr() },
            y: run.y.as_mut_ptr(),
            sums: if run.sums.is_empty() { std::ptr::null_mut() } else { run.sums.as_mut_ptr() },
            mixed: mixed.as_mut_ptr(),
            prefetch: run.prefetch,
        };
        job.launch(exec);
    }
}
