//! The definition of a convolution, and a comparison of every kernel with it.

use dyconv_simd::testing::{assert_close, values};
use proptest::prelude::*;

use crate::activation::tests::naive;
use crate::{
    Activation, Bank, ConvGeometry, ConvRun, Epilogue, Exec, Isa, PanelConv, PixelSteps, Pool, PrefetchRange, Storage,
    copy_channels,
};

/// The definition: x `[H, W, C]`, weight `[O, C/groups, kh, kw]` → `[H', W', O]`.
pub(super) fn naive_conv(g: &ConvGeometry, weight: &[f64], bias: &[f32], x: &[f32]) -> Vec<f64> {
    let ([h, w, c], [oh, ow, o]) = (g.input, g.output());
    let (inputs, outputs) = (c / g.groups, o / g.groups);
    let mut y = Vec::new();
    for (oy, ox, oc) in (0..oh).flat_map(|y| (0..ow).flat_map(move |x| (0..o).map(move |c| (y, x, c)))) {
        let mut sum = bias.get(oc).map_or(0.0, |b| f64::from(*b));
        for (ky, kx) in (0..g.kernel[0]).flat_map(|a| (0..g.kernel[1]).map(move |b| (a, b))) {
            let iy = (oy * g.stride[0] + ky * g.dilation[0]).checked_sub(g.padding[0]).filter(|i| *i < h);
            let ix = (ox * g.stride[1] + kx * g.dilation[1]).checked_sub(g.padding[1]).filter(|i| *i < w);
            let (Some(iy), Some(ix)) = (iy, ix) else { continue };
            for ci in 0..inputs {
                let at = ((oc * inputs + ci) * g.kernel[0] + ky) * g.kernel[1] + kx;
                sum += weight[at] * f64::from(x[(iy * w + ix) * c + oc / outputs * inputs + ci]);
            }
        }
        y.push(sum);
    }
    y
}

/// Sizes and tolerance of a convolution under test.
pub(crate) struct Sizes {
    /// Scratch for two threads.
    pub(crate) scratch: usize,
    /// Number of sums, or zero if they are not supported.
    pub(crate) sums: usize,
    /// Whether the pixels of the input may lie apart.
    pub(crate) apart: bool,
    /// Tolerated rounding error, relative to the largest value.
    pub(crate) tolerance: f64,
}

/// Runs a convolution with fixed and with mixed kernels, with and without residual and sums, on every instruction set,
/// on one thread and on two, and compares it with the definition.
pub(crate) fn check_against_naive(
    g: &ConvGeometry,
    kernels: usize,
    sizes: impl Fn(Isa) -> Sizes,
    pack: impl Fn(&[f32], Storage, Isa) -> Bank,
    conv: impl Fn(Exec<'_>, ConvRun<'_>),
) {
    let n = g.weight_len();
    let (bank, pi, x, bias) =
        (values(kernels * n, 1), values(kernels, 2), values(g.input_len(), 3), values(g.out_channels, 4));
    let residual = values(g.output_len(), 5);
    let mixture: Vec<f64> =
        (0..n).map(|i| (0..kernels).map(|k| f64::from(pi[k]) * f64::from(bank[k * n + i])).sum()).collect();
    let relu = |v: f64| naive(Activation::Relu6, v);
    let single: Vec<f64> = bank[..n].iter().map(|w| f64::from(*w)).collect();
    let expected = naive_conv(g, &mixture, &bias, &x);
    let plain: Vec<f64> = expected.iter().map(|v| relu(*v)).collect();
    let added: Vec<f64> = expected.iter().zip(&residual).map(|(v, r)| relu(v + f64::from(*r))).collect();
    let pools = [Pool::new(1), Pool::new(2)];
    for isa in Isa::available() {
        let what = format!("{} K={kernels} {g:?}", isa.name());
        let packed = pack(&bank, Storage::F32, isa);
        let sizes = sizes(isa);
        let [mut y, mut other] = [const { Vec::new() }; 2];
        for (pool, y) in pools.iter().zip([&mut y, &mut other]) {
            let exec = Exec { isa, pool };
            let (mut sums, mut scratch) = (vec![f32::NAN; sizes.sums], vec![f32::NAN; sizes.scratch]);
            *y = vec![f32::NAN; g.output_len()];
            let mut run = |bank: &Bank, coefficients: &[f32], bias: &[f32], residual: &[f32], y: &mut [f32]| {
                let activation = (!bias.is_empty()).then_some(Activation::Relu6);
                conv(
                    exec,
                    ConvRun {
                        bank,
                        coefficients,
                        residual,
                        steps: PixelSteps::default(),
                        y,
                        input_scale: &[],
                        x: &x,
                        sums: &mut sums,
                        scratch: &mut scratch,
                        epilogue: Epilogue { bias, activation },
                        prefetch: [PrefetchRange::of(&x), PrefetchRange::default()],
                    },
                );
                if !sums.is_empty() {
                    let (c, pixels) = (g.out_channels, g.output_len() / g.out_channels);
                    let mut means = vec![f32::NAN; c];
                    crate::mean_of_sums(isa, &sums, pixels, &mut means);
                    let mean = |j| (0..pixels).map(|p| f64::from(y[p * c + j])).sum::<f64>() / pixels as f64;
                    assert_close(&means, &(0..c).map(mean).collect::<Vec<_>>(), 1e-5, &what);
                }
            };
            run(&packed, &pi, &bias, &[], y);
            assert_close(y, &plain, sizes.tolerance, &what);
            if kernels == 1 {
                y.fill(f32::NAN);
                run(&packed, &[], &[], &[], y);
                assert_close(y, &naive_conv(g, &single, &[], &x), sizes.tolerance, &what);
            }
            run(&packed, &pi, &bias, &residual, y);
            assert_close(y, &added, sizes.tolerance, &what);
        }
        assert_eq!(y, other, "two threads give the same bits: {what}");
        for (pool, activation) in pools.iter().zip([Activation::Silu, Activation::Gelu]) {
            let expected: Vec<f64> =
                expected.iter().zip(&residual).map(|(v, r)| naive(activation, v + f64::from(*r))).collect();
            let run = |steps, x: &[f32], residual: &[f32], y: &mut [f32], sums: &mut [f32]| {
                let run = ConvRun {
                    bank: &packed,
                    coefficients: &pi,
                    residual,
                    steps,
                    y,
                    input_scale: &[],
                    x,
                    sums,
                    scratch: &mut vec![f32::NAN; sizes.scratch],
                    epilogue: Epilogue { bias: &bias, activation: Some(activation) },
                    prefetch: [PrefetchRange::default(); 2],
                };
                conv(Exec { isa, pool }, run);
            };
            y.fill(f32::NAN);
            let mut sums = vec![f32::NAN; sizes.sums];
            run(PixelSteps::default(), &x, &residual, &mut y, &mut sums);
            assert_close(&y, &expected, 2.0 * sizes.tolerance, &what);
            if !sums.is_empty() {
                let (c, pixels) = (g.out_channels, g.output_len() / g.out_channels);
                let mut means = vec![f32::NAN; c];
                crate::mean_of_sums(isa, &sums, pixels, &mut means);
                let mean = |j| (0..pixels).map(|p| f64::from(y[p * c + j])).sum::<f64>() / pixels as f64;
                assert_close(&means, &(0..c).map(mean).collect::<Vec<_>>(), 1e-5, &what);
            }
            // The same with pixels that lie apart, and nothing written between them.
            let (c, o) = (g.input[2], g.out_channels);
            let steps = PixelSteps { x: if sizes.apart { c + 3 } else { c }, residual: o + 1, y: o + 5 };
            let spread = |from: &[f32], channels: usize, step: usize| {
                let mut to = vec![f32::NAN; (from.len() / channels - 1) * step + channels];
                copy_channels(channels, [channels, step], from, &mut to);
                to
            };
            let mut apart = vec![f32::NAN; (g.output_len() / o - 1) * steps.y + o];
            let (x, residual) = (spread(&x, c, steps.x), spread(&residual, o, steps.residual));
            run(steps, &x, &residual, &mut apart, &mut sums);
            assert_eq!(apart.chunks(steps.y).flat_map(|p| p[..o].to_vec()).collect::<Vec<_>>(), y, "{what}");
            assert!(apart.chunks(steps.y).all(|p| p[o..].iter().all(|v| v.is_nan())), "{what}");
        }
        // A weight of a narrow bank is off by at most half a unit, and a sum has this many products of values below
        // one.
        let terms = (kernels * n / g.out_channels) as f64;
        for (storage, unit) in [(Storage::Bf16, 0.5f64.powi(9)), (Storage::Int8, 1.0 / 254.0)] {
            let bank = pack(&bank, storage, isa);
            let mut scratch = vec![f32::NAN; sizes.scratch];
            conv(
                Exec { isa, pool: &pools[0] },
                ConvRun {
                    bank: &bank,
                    coefficients: &pi,
                    residual: &[],
                    steps: PixelSteps::default(),
                    y: &mut y,
                    input_scale: &[],
                    x: &x,
                    sums: &mut [],
                    scratch: &mut scratch,
                    epilogue: Epilogue { bias: &bias, activation: Some(Activation::Relu6) },
                    prefetch: [PrefetchRange::default(); 2],
                },
            );
            let error = y.iter().zip(&plain).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
            assert!(error <= terms * unit, "{storage:?} {what}: {error:e}");
        }
    }
}

prop_compose! {
    /// Any convolution that fits its map: odd sizes, rectangular kernels, groups.
    pub(crate) fn geometry()(
        size in [1usize..12, 1usize..12], kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..4, 0usize..4], end_padding in [0usize..4, 0usize..4], dilation in [1usize..4, 1usize..4], groups in 1usize..4,
        channels in [1usize..8, 1usize..16],
    ) -> ConvGeometry {
        let mut kernel = kernel;
        for axis in 0..2 {
            while dilation[axis] * (kernel[axis] - 1) + 1 > size[axis] + padding[axis] + end_padding[axis] {
                kernel[axis] -= 1;
            }
        }
        let input = [size[0], size[1], channels[0] * groups];
        let out_channels = channels[1] * groups;
        ConvGeometry { input, out_channels, kernel, stride, padding, end_padding, dilation, groups }
    }
}

fn check(g: ConvGeometry, kernels: usize) {
    let convs: Vec<PanelConv> = Isa::available().into_iter().map(|isa| PanelConv::new(g, isa)).collect();
    let of = |isa: Isa| convs.iter().find(|c| c.isa.name() == isa.name()).unwrap();
    check_against_naive(
        &g,
        kernels,
        |isa| Sizes {
            scratch: of(isa).scratch_len(true, 2),
            sums: if g.groups == 1 { of(isa).sums_len() } else { 0 },
            apart: of(isa).reads_apart(),
            tolerance: 1e-5,
        },
        |w, storage, isa| of(isa).pack(kernels, w, storage),
        |exec, run| of(exec.isa).run(exec, run),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn agrees_with_naive_loops(g in geometry(), kernels in 1usize..5) {
        check(g, kernels);
    }

    /// Wide outputs: pairs of panels, a single panel after them, and a panel that is not full.
    #[test]
    fn agrees_with_naive_loops_when_wide(g in geometry(), o in 17usize..70, kernels in 1usize..5) {
        check(ConvGeometry { out_channels: o * g.groups, ..g }, kernels);
    }
}

#[test]
fn every_number_of_pixels() {
    for w in 1..40 {
        let g = ConvGeometry {
            input: [1, w, 5],
            out_channels: 35,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            end_padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        };
        check(g, 1);
    }
}

/// Large maps with few channels, where a chunk of pixels is multiplied by all panels; also with input factors.
#[test]
fn small_kernels_on_large_maps() {
    for (size, inputs, outputs, stride) in
        [([17, 24], 3, 20, 1), ([29, 31], 5, 35, 1), ([57, 56], 24, 50, 2), ([40, 40], 3, 16, 1)]
    {
        let g = ConvGeometry {
            input: [size[0], size[1], inputs],
            out_channels: outputs,
            kernel: [1, 1],
            stride: [stride; 2],
            padding: [0, 0],
            end_padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        };
        assert!(PanelConv::new(g, Isa::detect()).shape.pixel_major);
        check(g, 1);
        check(g, 4);
        let (w, x, factors) = (values(g.weight_len(), 1), values(g.input_len(), 2), values(inputs, 3));
        let scaled: Vec<f64> =
            w.iter().enumerate().map(|(i, w)| f64::from(*w) * f64::from(factors[i % inputs])).collect();
        for isa in Isa::available() {
            let conv = PanelConv::new(g, isa);
            let mut scratch = vec![f32::NAN; conv.scratch_len(true, 1)];
            let mut y = vec![f32::NAN; g.output_len()];
            let bank = conv.pack(1, &w, Storage::F32);
            conv.run(
                Exec { isa, pool: &Pool::new(1) },
                ConvRun {
                    bank: &bank,
                    coefficients: &[],
                    residual: &[],
                    steps: PixelSteps::default(),
                    y: &mut y,
                    input_scale: &factors,
                    x: &x,
                    sums: &mut [],
                    scratch: &mut scratch,
                    epilogue: Epilogue::default(),
                    prefetch: [PrefetchRange::default(); 2],
                },
            );
            assert_close(&y, &naive_conv(&g, &scaled, &[], &x), 1e-5, isa.name());
        }
    }
}

/// A small kernel whose panel has more rows than a block, on a map that is barely large.
#[test]
fn a_narrow_output_of_many_channels() {
    let g = ConvGeometry {
        input: [5, 79, 500],
        out_channels: 10,
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        end_padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    assert!(PanelConv::new(g, Isa::detect()).shape.pixel_major);
    check(g, 1);
    check(g, 3);
}

/// Large kernels on small maps, whose panels are split into blocks.
#[test]
fn long_kernels_in_blocks() {
    for (size, inputs, outputs, kernel, dilation, groups) in [
        ([5, 7], 900, 35, 1, 1, 1),
        ([7, 7], 137, 50, 3, 1, 1),
        ([6, 5], 120, 20, 3, 2, 1),
        ([4, 5], 300, 36, 3, 1, 2),
        ([4, 20], 401, 17, 1, 1, 1),
    ] {
        let g = ConvGeometry {
            input: [size[0], size[1], inputs],
            out_channels: outputs,
            kernel: [kernel; 2],
            stride: [1, 1],
            padding: [kernel / 2 * dilation; 2],
            end_padding: [kernel / 2 * dilation; 2],
            dilation: [dilation; 2],
            groups,
        };
        assert!(PanelConv::new(g, Isa::detect()).shape.blocks.len() > 1);
        check(g, 1);
        check(g, 4);
    }
}
