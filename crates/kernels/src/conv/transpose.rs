//! Transposed convolution in polyphase form: one stride-one convolution for every phase of the output.
//!
//! With stride s, input i contributes to output o through tap t if o + padding = i·s + t. The outputs of one *phase*,
//! those with equal (o + padding) mod s, therefore share their taps: every s-th tap of the kernel. Adjacent outputs of
//! a phase apply these taps to adjacent inputs, which is a stride-one convolution with the taps reversed, written to
//! every s-th output. A kernel of 4×4 taps at stride two is four convolutions of 2×2. All phases read windows of one
//! padded map. The only superfluous products are those with the padding.

use dyconv_simd::Isa;

use super::job::Job;
use super::pad::{Padded, pad};
use super::rounding::round_map;
use super::shape::Shape;
use crate::activation::activate;
use crate::bank::{Bank, Packer, Storage};
use crate::exec::Exec;
use crate::geometry::ConvGeometry;
use crate::prefetch::PrefetchRange;
use crate::run::Epilogue;

/// Sizes of a transposed convolution over a channels-last map; pairs are (height, width).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransposedGeometry {
    /// Input `[H, W, C]`.
    pub input: [usize; 3],
    /// Number O of output channels.
    pub out_channels: usize,
    /// Kernel size in taps.
    pub kernel: [usize; 2],
    /// Distance in outputs between the contributions of adjacent inputs.
    pub stride: [usize; 2],
    /// Outputs cropped from both ends of each axis.
    pub padding: [usize; 2],
    /// Outputs appended at the end of each axis.
    pub output_padding: [usize; 2],
    /// Independent groups of channels; divides both channel counts.
    pub groups: usize,
}

impl TransposedGeometry {
    /// Output `[H', W', O]`.
    ///
    /// # Panics
    /// If the padding crops everything.
    pub fn output(&self) -> [usize; 3] {
        let side = |a: usize| {
            (self.input[a] - 1) * self.stride[a] + self.kernel[a] + self.output_padding[a] - 2 * self.padding[a]
        };
        [side(0), side(1), self.out_channels]
    }

    /// Number of weights of the kernel `[C, O/groups, kh, kw]`.
    pub fn weight_len(&self) -> usize {
        self.input[2] * (self.out_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    /// The phases of an axis that have at least one output.
    fn phases(&self, axis: usize) -> Vec<AxisPhase> {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let size = self.output()[axis];
        let phase = |remainder: usize| {
            let first = (remainder + stride - padding % stride) % stride;
            let taps = self.kernel[axis].saturating_sub(remainder).div_ceil(stride);
            // The input under the first tap of the first output; later taps are on the inputs before it.
            let input = (first + padding - remainder) / stride;
            AxisPhase {
                tap: remainder,
                taps,
                first,
                outputs: size.saturating_sub(first).div_ceil(stride),
                start: (input + 1).cast_signed() - taps.cast_signed(),
            }
        };
        (0..stride).map(phase).filter(|p| p.outputs > 0).collect()
    }
}

/// The outputs of one axis that share their taps.
#[derive(Debug, Clone, Copy)]
struct AxisPhase {
    /// The first tap; the others follow at distance `stride`.
    tap: usize,
    taps: usize,
    /// The first output; the others follow at distance `stride`.
    first: usize,
    outputs: usize,
    /// The input under the last tap of the first output; negative if that is in the padding.
    start: isize,
}

/// A transposed convolution of fixed sizes.
#[derive(Debug, Clone)]
pub struct ConvTranspose {
    geometry: TransposedGeometry,
    isa: Isa,
    rounds: bool,
    /// Zeros around the input, per axis, in pixels.
    border: [usize; 2],
    phases: Vec<Phase>,
    /// Whether some outputs consist of the bias only.
    gaps: bool,
}

/// The convolution of a phase.
#[derive(Debug, Clone)]
struct Phase {
    shape: Shape,
    axes: [AxisPhase; 2],
    /// Offset in values of the first value that the phase reads in the padded map, and of the first that it writes in
    /// the output.
    from: usize,
    to: usize,
}

impl ConvTranspose {
    /// Creates a transposed convolution of these sizes for an instruction set.
    ///
    /// # Panics
    /// If the groups do not divide the channels, a stride is zero, or the padding crops everything.
    pub fn new(geometry: TransposedGeometry, isa: Isa) -> Self {
        Self::build(geometry, isa, false)
    }

    /// Like [`new`](Self::new), but rounds input and kernel to bf16. Products are summed in f32.
    ///
    /// # Panics
    /// As for [`new`](Self::new), and if there is more than one group.
    pub fn rounding(geometry: TransposedGeometry, isa: Isa) -> Self {
        assert_eq!(geometry.groups, 1, "products of bf16 only without groups");
        Self::build(geometry, isa, true)
    }

    fn build(g: TransposedGeometry, isa: Isa, rounds: bool) -> Self {
        let [h, w, c] = g.input;
        let axes = [0, 1].map(|a| g.phases(a));
        let with_taps = axes.clone().map(|phases| phases.into_iter().filter(|p| p.taps > 0).collect::<Vec<_>>());
        let border = [0, 1].map(|a| {
            let outside = |p: &AxisPhase| {
                let end = p.start + (p.outputs + p.taps).cast_signed() - 1;
                (-p.start).max(end - g.input[a].cast_signed()).max(0).cast_unsigned()
            };
            with_taps[a].iter().map(outside).max().unwrap_or(0)
        });
        let padded = [h + 2 * border[0], w + 2 * border[1], c];
        let [_, ow, o] = g.output();
        let values = if rounds { c.div_ceil(2) } else { c };
        let mut vectors = 0;
        let phase = |axes: [AxisPhase; 2]| {
            let [rows, columns] = axes;
            let window = ConvGeometry {
                input: [rows.outputs + rows.taps - 1, columns.outputs + columns.taps - 1, c],
                out_channels: o,
                kernel: [rows.taps, columns.taps],
                stride: [1, 1],
                padding: [0, 0],
                end_padding: [0, 0],
                dilation: [1, 1],
                groups: g.groups,
            };
            let mut shape = Shape::new(window, isa, rounds, padded, [g.stride[1] * o, g.stride[0] * ow * o]);
            // The kernels of all phases are stored one after the other in one bank.
            let per = shape.per_value();
            shape.panels.iter_mut().for_each(|p| p.vector += vectors / per);
            vectors += shape.vectors();
            let at = [0, 1].map(|a| (axes[a].start + border[a].cast_signed()).cast_unsigned());
            let from = (at[0] * padded[1] + at[1]) * values;
            Phase { shape, axes, from, to: (rows.first * ow + columns.first) * o }
        };
        let pairs = with_taps[0].iter().flat_map(|r| with_taps[1].iter().map(|c| [*r, *c]));
        let phases = pairs.map(phase).collect();
        let gaps = [0, 1].iter().any(|a| with_taps[*a].len() < axes[*a].len());
        Self { geometry: g, isa, rounds, border, phases, gaps }
    }

    /// Whether input and kernel are rounded to bf16.
    pub fn rounds(&self) -> bool {
        self.rounds
    }

    /// Packs the kernel `[C, O/groups, kh, kw]`.
    ///
    /// # Panics
    /// If the length does not match.
    pub fn pack(&self, weight: &[f32]) -> Bank {
        let g = &self.geometry;
        assert_eq!(weight.len(), g.weight_len(), "a kernel [C, O/groups, kh, kw]");
        let (inputs, outputs, taps) = (g.input[2] / g.groups, g.out_channels / g.groups, g.kernel[0] * g.kernel[1]);
        let columns = self.phases.iter().flat_map(|p| p.shape.columns()).collect();
        let mut packer = Packer::new(1, columns, Storage::F32);
        let mut kernel = Vec::new();
        for Phase { shape, axes: [rows, columns], .. } in &self.phases {
            kernel.clear();
            for o in 0..g.out_channels {
                for i in 0..inputs {
                    let of_pair = ((o / outputs * inputs + i) * outputs + o % outputs) * taps;
                    for y in (0..rows.taps).rev() {
                        let row = of_pair + (rows.tap + y * g.stride[0]) * g.kernel[1] + columns.tap;
                        kernel.extend((0..columns.taps).rev().map(|x| weight[row + x * g.stride[1]]));
                    }
                }
            }
            shape.pack_kernel(&mut packer, 0, &kernel);
        }
        if self.rounds { packer.finish_rounded() } else { packer.finish() }
    }

    fn padded_len(&self) -> usize {
        let [h, w, c] = self.geometry.input;
        let [top, left] = self.border;
        if self.border == [0, 0] && !self.rounds {
            return 0;
        }
        (h + 2 * top) * (w + 2 * left) * if self.rounds { c.div_ceil(2) } else { c }
    }

    /// Scratch size in values for [`run`](Self::run).
    pub fn scratch_len(&self) -> usize {
        self.padded_len()
    }

    /// Computes `y` `[H', W', O]` from `x` `[H, W, C]`; `bank` comes from [`pack`](Self::pack). `prefetch` is the
    /// memory that will be read next.
    ///
    /// # Panics
    /// If a length does not match, or the instruction set is not that of [`new`](Self::new).
    #[expect(clippy::too_many_arguments, reason = "what a convolution reads and writes")]
    pub fn run(
        &self,
        exec: Exec<'_>,
        bank: &Bank,
        end: Epilogue<'_>,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut [f32],
        prefetch: [PrefetchRange; 2],
    ) {
        let g = &self.geometry;
        let o = g.out_channels;
        assert_eq!(x.len(), g.input.iter().product::<usize>(), "input of the transposed convolution");
        assert_eq!(y.len(), g.output().iter().product::<usize>(), "output of the transposed convolution");
        assert!(end.bias.is_empty() || end.bias.len() == o, "one bias per channel or none");
        assert!(scratch.len() >= self.scratch_len(), "working memory of the transposed convolution");
        assert_eq!(self.isa.name(), exec.isa.name(), "the instruction set that the panels are made for");
        let kernel = if self.rounds { bank.rounded() } else { bank.single() }.expect("a kernel as `pack` makes it");
        let vectors: usize = self.phases.iter().map(|p| p.shape.vectors()).sum();
        assert_eq!(bank.vectors(), vectors, "the kernels of all phases");
        let map = &mut scratch[..self.padded_len()];
        let [h, w, c] = g.input;
        let whole = [h + 2 * self.border[0], w + 2 * self.border[1]];
        let input = Padded { map: g.input, step: c, begin: self.border, whole };
        let x = if self.rounds {
            round_map(exec, input, &[], x, map);
            &*map
        } else if self.border == [0, 0] {
            x
        } else {
            pad(exec, input, x, map);
            &*map
        };
        if self.gaps {
            for pixel in y.chunks_exact_mut(o) {
                if end.bias.is_empty() { pixel.fill(0.0) } else { pixel.copy_from_slice(end.bias) }
            }
            end.activation.into_iter().for_each(|a| activate(exec.isa, a, y));
        }
        for (i, Phase { shape, from, to, .. }) in self.phases.iter().enumerate() {
            let ([ih, iw, _], [oh, ow, _]) = (shape.geometry.input, shape.geometry.output());
            let (x, y) = (&x[*from..], &mut y[*to..]);
            let reach = (ih - 1) * shape.padded[1] + iw;
            assert!(x.len() >= reach * shape.padded[2], "the window of a phase inside the map");
            assert!(y.len() >= (oh - 1) * shape.out[1] + (ow - 1) * shape.out[0] + o, "the outputs of a phase");
            let next = self.phases.get(i + 1).map(|p| {
                let first = p.shape.panels[0].vector * p.shape.per_value();
                bank.range(first, p.shape.vectors())
            });
            let job = Job {
                shape,
                parts: exec.pool.threads(),
                bank,
                coefficients: &[],
                fixed: Some(kernel),
                input_scale: &[],
                bias: end.bias,
                activation: end.activation,
                x,
                x_step: shape.padded[2],
                residual: std::ptr::null(),
                residual_step: 0,
                out: shape.out,
                y: y.as_mut_ptr(),
                sums: std::ptr::null_mut(),
                mixed: std::ptr::null_mut(),
                prefetch: next.map_or(prefetch, |next| [next, PrefetchRange::default()]),
            };
            job.launch(exec);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;
    use crate::activation::Activation;
    use crate::activation::tests::naive;
    use dyconv_simd::testing::{assert_close, values};
    use proptest::prelude::*;

    /// The definition: the product of every input with every tap is added to the output it belongs to.
    fn naive_transposed(g: &TransposedGeometry, weight: &[f32], bias: &[f32], x: &[f32]) -> Vec<f64> {
        let ([h, w, c], [oh, ow, o]) = (g.input, g.output());
        let (inputs, outputs) = (c / g.groups, o / g.groups);
        let mut y: Vec<f64> = (0..oh * ow * o).map(|i| bias.get(i % o).map_or(0.0, |b| f64::from(*b))).collect();
        for (iy, ix, ci) in (0..h).flat_map(|y| (0..w).flat_map(move |x| (0..c).map(move |c| (y, x, c)))) {
            for (ky, kx) in (0..g.kernel[0]).flat_map(|a| (0..g.kernel[1]).map(move |b| (a, b))) {
                let oy = (iy * g.stride[0] + ky).checked_sub(g.padding[0]).filter(|o| *o < oh);
                let ox = (ix * g.stride[1] + kx).checked_sub(g.padding[1]).filter(|o| *o < ow);
                let (Some(oy), Some(ox)) = (oy, ox) else { continue };
                for of_group in 0..outputs {
                    let weight = weight[((ci * outputs + of_group) * g.kernel[0] + ky) * g.kernel[1] + kx];
                    y[(oy * ow + ox) * o + ci / inputs * outputs + of_group] +=
                        f64::from(weight) * f64::from(x[(iy * w + ix) * c + ci]);
                }
            }
        }
        y
    }

    /// bf16 has eight bits: the relative error of each factor is at most 2⁻⁹.
    const ROUNDED: f64 = 0.01;

    fn check(g: TransposedGeometry) {
        let (weight, bias) = (values(g.weight_len(), 1), values(g.out_channels, 2));
        let x = values(g.input.iter().product(), 3);
        for (bias, activation) in [(&bias[..], Some(Activation::Relu)), (&[], None)] {
            let end = |v: &f64| activation.map_or(*v, |a| naive(a, *v));
            let expected: Vec<f64> = naive_transposed(&g, &weight, bias, &x).iter().map(end).collect();
            for (isa, rounds) in Isa::available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
                if rounds && g.groups > 1 {
                    continue;
                }
                let conv = if rounds { ConvTranspose::rounding(g, isa) } else { ConvTranspose::new(g, isa) };
                let bank = conv.pack(&weight);
                let [y, other] = [1, 2].map(|threads| {
                    let mut y = vec![f32::NAN; expected.len()];
                    let mut scratch = vec![f32::NAN; conv.scratch_len()];
                    let exec = Exec { isa, pool: &Pool::new(threads) };
                    conv.run(
                        exec,
                        &bank,
                        Epilogue { bias, activation },
                        &x,
                        &mut y,
                        &mut scratch,
                        [PrefetchRange::default(); 2],
                    );
                    y
                });
                let what = format!("{} {rounds} {g:?}", isa.name());
                let terms = (g.input[2] / g.groups * g.kernel[0] * g.kernel[1]) as f64;
                let tolerance = if rounds { ROUNDED * terms.sqrt().max(1.0) } else { 1e-5 };
                assert_close(&y, &expected, tolerance, &what);
                assert_eq!(y, other, "two threads give the same bits: {what}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn agrees_with_the_definition(
            size in [1usize..9, 1usize..9], kernel in [1usize..7, 1usize..7], stride in [1usize..5, 1usize..5],
            padding in [0usize..5, 0usize..5], added in [0usize..4, 0usize..4], groups in 1usize..4,
            channels in [1usize..20, 1usize..40],
        ) {
            let mut g = TransposedGeometry {
                input: [size[0], size[1], channels[0] * groups], out_channels: channels[1] * groups, kernel, stride, padding,
                output_padding: [0, 1].map(|a| added[a].min(stride[a] - 1)), groups,
            };
            for a in 0..2 {
                while (g.input[a] - 1) * stride[a] + kernel[a] + g.output_padding[a] <= 2 * g.padding[a] {
                    g.padding[a] -= 1;
                }
            }
            check(g);
        }
    }

    /// The sizes of keypoint heads: four taps at stride two, many channels, panels split into blocks, rows longer than
    /// a tile.
    #[test]
    fn heads_of_keypoint_networks() {
        for (size, inputs, outputs) in [([4, 3], 300, 64), ([8, 6], 70, 50), ([5, 24], 40, 33), ([20, 33], 8, 3)] {
            check(TransposedGeometry {
                input: [size[0], size[1], inputs],
                out_channels: outputs,
                kernel: [4, 4],
                stride: [2, 2],
                padding: [1, 1],
                output_padding: [0, 0],
                groups: 1,
            });
        }
    }

    #[test]
    fn a_deconvolution_of_four_taps_is_four_of_two() {
        let g = TransposedGeometry {
            input: [8, 6, 5],
            out_channels: 7,
            kernel: [4, 4],
            stride: [2, 2],
            padding: [1, 1],
            output_padding: [0, 0],
            groups: 1,
        };
        let conv = ConvTranspose::new(g, Isa::portable());
        assert_eq!((conv.phases.len(), conv.border, conv.gaps), (4, [1, 1], false));
        assert!(
            conv.phases.iter().all(|p| p.shape.geometry.kernel == [2, 2] && p.shape.geometry.output() == [8, 6, 7])
        );
        assert_eq!(conv.scratch_len(), 10 * 8 * 5);
        let one = TransposedGeometry { kernel: [1, 1], padding: [0, 0], ..g };
        assert!(ConvTranspose::new(one, Isa::portable()).gaps);
    }
}
