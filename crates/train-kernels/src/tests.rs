//! Every convolution, compared with naive loops.

use proptest::prelude::*;

use dyconv_simd::Isa;
use dyconv_simd::testing::values;

use crate::algorithm::ConvAlgorithm;
use crate::conv::{conv_dweight, conv_dx, conv_forward, mix_backward, mix_forward};
use crate::geometry::BatchConv;
use crate::winograd;

/// `y`, `dx`, `dpi`, `dbank` by definition.
struct Witness {
    y: Vec<Sum>,
    dx: Vec<Sum>,
    dpi: Vec<Sum>,
    dbank: Vec<Sum>,
}

/// A sum in f64.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    /// Sum of the squared terms.
    squares: f64,
}

impl Sum {
    fn add(&mut self, term: f64) {
        self.value += term;
        self.squares += term * term;
    }

    /// The magnitude of such a sum where its terms do not happen to cancel.
    fn magnitude(self) -> f64 {
        self.squares.sqrt().max(self.value.abs())
    }
}

fn witness(c: &BatchConv, x: &[f32], pi: &[f32], bank: &[f32], dy: &[f32]) -> Witness {
    let kernels = c.kernels(pi);
    let [height, width] = c.output();
    let mut w = Witness {
        y: vec![Sum::default(); dy.len()],
        dx: vec![Sum::default(); x.len()],
        dpi: vec![Sum::default(); pi.len()],
        dbank: vec![Sum::default(); bank.len()],
    };
    for n in 0..c.batch {
        for o in 0..c.out_channels {
            for row in 0..height {
                for column in 0..width {
                    let at_y = ((n * c.out_channels + o) * height + row) * width + column;
                    for i in 0..c.group_in() {
                        let channel = o / c.group_out() * c.group_in() + i;
                        for tap in 0..c.taps() {
                            let r = (row * c.stride[0] + tap / c.kernel[1] * c.dilation[0]).wrapping_sub(c.padding[0]);
                            let s =
                                (column * c.stride[1] + tap % c.kernel[1] * c.dilation[1]).wrapping_sub(c.padding[1]);
                            if r >= c.input[1] || s >= c.input[2] {
                                continue;
                            }
                            let at_x = ((n * c.input[0] + channel) * c.input[1] + r) * c.input[2] + s;
                            for k in 0..kernels {
                                let at_w = k * c.weights() + o * c.row() + i * c.taps() + tap;
                                let [p, v, b, g] = [pi[n * kernels + k], x[at_x], bank[at_w], dy[at_y]].map(f64::from);
                                w.y[at_y].add(p * v * b);
                                w.dx[at_x].add(p * b * g);
                                w.dpi[n * kernels + k].add(v * b * g);
                                w.dbank[at_w].add(p * v * g);
                            }
                        }
                    }
                }
            }
        }
    }
    w
}

/// Tolerance for f32 sums of a few thousand products, relative to the largest magnitude.
const NEAR: f64 = 5e-6;
/// The same through the Winograd transforms, whose points at ±√2 amplify rounding errors a few times.
const WINOGRAD: f64 = 2e-5;

fn near(what: &str, found: &[f32], expected: &[Sum], tolerance: f64) -> Result<(), TestCaseError> {
    let scale = expected.iter().fold(1e-30, |most: f64, sum| most.max(sum.magnitude()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e.value).abs() / scale;
        prop_assert!(error <= tolerance, "{what}[{i}]: {f} instead of {}, relative error {error:e}", e.value);
    }
    Ok(())
}

type All = [Vec<f32>; 4];

/// All results of a mixture, by one algorithm.
fn mixture(isa: Isa, c: &BatchConv, how: ConvAlgorithm, x: &[f32], pi: &[f32], bank: &[f32], dy: &[f32]) -> All {
    let y = mix_forward(isa, c, how, x, pi, bank);
    let (dx, dpi, dbank) = mix_backward(isa, c, how, x, pi, bank, dy);
    [y, dx, dpi, dbank]
}

/// Every algorithm that can compute a mixture of these sizes.
fn algorithms(c: &BatchConv) -> Vec<ConvAlgorithm> {
    if c.is_depthwise() {
        return vec![ConvAlgorithm::Depthwise];
    }
    let winograd = winograd::products(c).map(|_| ConvAlgorithm::Winograd);
    [ConvAlgorithm::PerSample, ConvAlgorithm::PerBank].into_iter().chain(winograd).collect()
}

fn check(c: &BatchConv, kernels: usize, seed: u64) -> Result<(), TestCaseError> {
    let (pixels, weights) = (c.pixels(), c.weights());
    let x = values(c.batch * c.input.iter().product::<usize>(), seed);
    let bank = values(kernels * weights, seed + 1);
    let pi = values(c.batch * kernels, seed + 2);
    let dy = values(c.batch * c.out_channels * pixels, seed + 3);
    let expected = witness(c, &x, &pi, &bank, &dy);
    let ones = vec![1.0; c.batch];
    let fixed = witness(c, &x, &ones, &bank[..weights], &dy);
    for isa in Isa::available() {
        for how in algorithms(c) {
            let tolerance = if how == ConvAlgorithm::Winograd { WINOGRAD } else { NEAR };
            let [y, dx, dpi, dbank] = mixture(isa, c, how, &x, &pi, &bank, &dy);
            let name = |what: &str| format!("{} {how:?} {what}", isa.name());
            near(&name("y"), &y, &expected.y, tolerance)?;
            near(&name("dx"), &dx, &expected.dx, tolerance)?;
            near(&name("dpi"), &dpi, &expected.dpi, tolerance)?;
            near(&name("dbank"), &dbank, &expected.dbank, tolerance)?;
        }
        let weight = &bank[..weights];
        let (y, dx) = (conv_forward(isa, c, &x, weight), conv_dx(isa, c, weight, &dy));
        let dw = conv_dweight(isa, c, &x, weight, &dy);
        let tolerance = if ConvAlgorithm::of_static(c) == ConvAlgorithm::Winograd { WINOGRAD } else { NEAR };
        near("static y", &y, &fixed.y, tolerance)?;
        near("static dx", &dx, &fixed.dx, tolerance)?;
        near("static dweight", &dw, &fixed.dbank, tolerance)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn dense_and_grouped_of_any_geometry(
        batch in 1usize..6, groups in 1usize..4, cg in 1usize..20, og in 1usize..20, kernel in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4], padding in [0usize..3, 0usize..3], end_padding in [0usize..3, 0usize..3],
        dilation in [1usize..3, 1usize..3], extra in [0usize..9, 0usize..9], kernels in 1usize..5, seed in 0u64..1000,
    ) {
        let side = |a: usize| {
            (dilation[a] * (kernel[a] - 1) + 1).saturating_sub(padding[a] + end_padding[a]).max(1) + extra[a]
        };
        let c = BatchConv {
            batch, input: [groups * cg, side(0), side(1)], out_channels: groups * og, kernel, stride, padding, end_padding,
            dilation, groups,
        };
        check(&c, kernels, seed)?;
    }

    #[test]
    fn winograd_of_any_map(
        batch in 1usize..6, channels in [16usize..40, 16usize..40], size in [1usize..14, 1usize..14], padding in [0usize..3, 0usize..3],
        end_padding in [0usize..3, 0usize..3], kernels in 1usize..5, seed in 0u64..1000,
    ) {
        let side = |a: usize| size[a] + 2usize.saturating_sub(padding[a] + end_padding[a]);
        let c = BatchConv {
            batch, input: [channels[0], side(0), side(1)], out_channels: channels[1], kernel: [3, 3], stride: [1, 1], padding,
            end_padding, dilation: [1, 1], groups: 1,
        };
        check(&c, kernels, seed)?;
    }

    #[test]
    fn depthwise_of_any_geometry(
        batch in 1usize..4, channels in 1usize..20, kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..4, 0usize..4], end_padding in [0usize..4, 0usize..4], dilation in [1usize..3, 1usize..3], extra in [0usize..12, 0usize..12],
        kernels in 1usize..5, seed in 0u64..1000,
    ) {
        let side = |a: usize| {
            (dilation[a] * (kernel[a] - 1) + 1).saturating_sub(padding[a] + end_padding[a]).max(1) + extra[a]
        };
        let c = BatchConv {
            batch, input: [channels, side(0), side(1)], out_channels: channels, kernel, stride, padding, end_padding,
            dilation, groups: channels,
        };
        check(&c, kernels, seed)?;
    }
}

/// Shapes whose work is divided: several kernel tiles, several blocks of pixels, many small maps together.
#[test]
fn large_shapes() {
    let shapes = [
        ([3, 64, 28, 28], 40, 3, 1, 1),
        ([5, 200, 7, 7], 300, 1, 1, 0),
        ([9, 520, 2, 2], 130, 3, 1, 1),
        ([40, 64, 30, 30], 32, 3, 1, 1),
        ([2, 16, 40, 40], 24, 3, 2, 1),
        ([2, 3, 33, 35], 16, 7, 2, 3),
    ];
    for (seed, ([batch, i, h, w], out_channels, k, s, p)) in shapes.into_iter().enumerate() {
        let c = BatchConv {
            batch,
            input: [i, h, w],
            out_channels,
            kernel: [k; 2],
            stride: [s; 2],
            padding: [p; 2],
            end_padding: [p; 2],
            dilation: [1; 2],
            groups: 1,
        };
        check(&c, 3, seed as u64).unwrap();
    }
}

#[test]
fn one_thread_and_many_give_the_same_bits() {
    let base = BatchConv {
        batch: 5,
        input: [24, 14, 14],
        out_channels: 40,
        kernel: [1; 2],
        stride: [1; 2],
        padding: [0; 2],
        end_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    let dense = BatchConv { kernel: [3; 2], padding: [1; 2], end_padding: [1; 2], ..base };
    let small = BatchConv { input: [24, 2, 2], ..dense };
    let many = BatchConv { batch: 90, input: [24, 12, 12], ..dense };
    let depthwise = BatchConv { out_channels: 24, groups: 24, ..dense };
    for c in [base, dense, many, small, depthwise] {
        let x = values(c.batch * c.input.iter().product::<usize>(), 1);
        let (pi, bank) = (values(c.batch * 4, 2), values(4 * c.weights(), 3));
        let dy = values(c.batch * c.out_channels * c.pixels(), 4);
        for how in algorithms(&c) {
            let with = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| mixture(Isa::detect(), &c, how, &x, &pi, &bank, &dy))
            };
            let one = with(1);
            assert!([2, 3, 8].into_iter().all(|threads| with(threads) == one), "{c:?} {how:?}");
        }
    }
}
