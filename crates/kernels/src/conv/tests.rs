//! The definition of a convolution, and every kernel against it.

use super::*;
use crate::activation::Activation;
use crate::activation::tests::naive;
use crate::testing::{assert_close, values};
use proptest::prelude::*;

/// The definition: x `[H, W, C]`, weight `[O, C/groups, kh, kw]` → `[H', W', O]`.
fn naive_conv(g: &ConvGeometry, weight: &[f64], bias: &[f32], x: &[f32]) -> Vec<f64> {
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

/// Runs a convolution with fixed and with mixed kernels on every instruction set against the definition.
pub(crate) fn check_against_naive(
    g: &ConvGeometry,
    kernels: usize,
    pack: impl Fn(&[f32]) -> Vec<f32>,
    run: impl Fn(Isa, Kernels<'_>, Epilogue<'_>, &[f32], &mut [f32]),
) {
    let n = g.weight_len();
    let (bank, pi, x, bias) =
        (values(kernels * n, 1), values(kernels, 2), values(g.input_len(), 3), values(g.out_channels, 4));
    let packed = pack(&bank);
    let mixture: Vec<f64> =
        (0..n).map(|i| (0..kernels).map(|k| f64::from(pi[k]) * f64::from(bank[k * n + i])).sum()).collect();
    let mixed = Kernels::Mixed { bank: &packed, coefficients: &pi };
    let relu = |v: Vec<f64>| -> Vec<f64> { v.into_iter().map(|v| naive(Activation::Relu6, v)).collect() };
    let single: Vec<f64> = bank[..n].iter().map(|w| f64::from(*w)).collect();
    for isa in Isa::available() {
        let what = format!("{} K={kernels} {g:?}", isa.name());
        let mut y = vec![f32::NAN; g.output_len()];
        let epilogue = Epilogue { bias: &bias, activation: Some(Activation::Relu6) };
        run(isa, mixed, epilogue, &x, &mut y);
        assert_close(&y, &relu(naive_conv(g, &mixture, &bias, &x)), 1e-5, &what);
        if kernels == 1 {
            y.fill(f32::NAN);
            run(isa, Kernels::Fixed(&packed), Epilogue::default(), &x, &mut y);
            assert_close(&y, &naive_conv(g, &single, &[], &x), 1e-5, &what);
        }
    }
}

prop_compose! {
    /// Any convolution that fits into its map: odd sizes, rectangular kernels, groups.
    pub(crate) fn geometry()(
        size in [1usize..12, 1usize..12], kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..4, 0usize..4], dilation in [1usize..4, 1usize..4], groups in 1usize..4,
        channels in [1usize..8, 1usize..16],
    ) -> ConvGeometry {
        let mut kernel = kernel;
        for axis in 0..2 {
            while dilation[axis] * (kernel[axis] - 1) + 1 > size[axis] + 2 * padding[axis] {
                kernel[axis] -= 1;
            }
        }
        let input = [size[0], size[1], channels[0] * groups];
        ConvGeometry { input, out_channels: channels[1] * groups, kernel, stride, padding, dilation, groups }
    }
}

fn check(g: ConvGeometry, kernels: usize) {
    let conv = PanelConv::new(g);
    check_against_naive(
        &g,
        kernels,
        |w| conv.pack(kernels, w),
        |isa, kernels, epilogue, x, y| {
            let mut scratch = vec![f32::NAN; conv.scratch_len(matches!(kernels, Kernels::Mixed { .. }))];
            conv.run(isa, kernels, epilogue, x, &mut scratch, y);
        },
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn agrees_with_naive_loops(g in geometry(), kernels in 1usize..5) {
        check(g, kernels);
    }

    /// Wide outputs: pairs of panels, a single one behind them, and one that is not full.
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
            dilation: [1, 1],
            groups: 1,
        };
        check(g, 1);
    }
}
