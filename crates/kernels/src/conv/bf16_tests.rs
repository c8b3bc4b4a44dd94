//! Convolutions that multiply bf16, compared with the definition on rounded operands.

use dyconv_simd::bf16;
use dyconv_simd::testing::{assert_close, values};
use proptest::prelude::*;

use super::tests::{geometry, naive_conv};
use crate::activation::tests::naive;
use crate::{
    Activation, ConvGeometry, ConvRun, Epilogue, Exec, Isa, PanelConv, PixelSteps, Pool, PrefetchRange, Storage,
};

/// f32 sums of bf16 products, which are exact in f32, compared with sums in f64. The CPU may round a sum of two
/// products once or twice.
const TOLERANCE: f64 = 1e-5;

/// Half a unit in the last place of a bf16 below one.
const HALF_UNIT: f64 = 1.0 / 512.0;

fn rounded(x: f32) -> f32 {
    f32::from_bits(bf16(x) << 16)
}

/// Values with `bits` fractional bits: sums of their products are exact in f32, so all instruction sets round the same
/// mixture.
fn coarse(n: usize, seed: u64, bits: i32) -> Vec<f32> {
    let unit = 2f32.powi(-bits);
    values(n, seed).iter().map(|v| (v / unit).floor() * unit).collect()
}

/// The largest weights round to the largest bf16, whether fixed or mixed, in every storage.
#[test]
fn extreme_kernels_stay_finite() {
    let g = ConvGeometry {
        input: [1, 1, 2],
        out_channels: 2,
        kernel: [1; 2],
        stride: [1; 2],
        padding: [0; 2],
        end_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    let kernel = [f32::MAX, 0.0, f32::MIN, 3.395e38];
    for isa in Isa::available() {
        let conv = PanelConv::rounding(g, isa);
        let banks = [Storage::F32, Storage::Bf16, Storage::Int8].map(|s| conv.pack(1, &kernel, s));
        for (bank, pi) in banks.iter().map(|b| (b, &[1.0][..])).chain([(&conv.pack_fixed(&kernel), &[][..])]) {
            let mut y = [f32::NAN; 2];
            let run = ConvRun {
                bank,
                coefficients: pi,
                input_scale: &[],
                residual: &[],
                steps: PixelSteps::default(),
                x: &[0.5, 0.25],
                y: &mut y,
                sums: &mut [],
                scratch: &mut vec![0.0; conv.scratch_len(true, 1)],
                epilogue: Epilogue::default(),
                prefetch: [PrefetchRange::default(); 2],
            };
            conv.run(Exec { isa, pool: &Pool::new(1) }, run);
            assert!(y[0] > 1.6e38 && y[1] < -8e37 && y.iter().all(|v| v.is_finite()), "{:?} {y:?}", bank.storage());
        }
    }
}

/// Fixed, mixed and scaled kernels in every storage, with residual and sums, on one thread and on two.
fn check(g: ConvGeometry, kernels: usize) {
    let g = ConvGeometry { input: [g.input[0], g.input[1], g.input[2] / g.groups], groups: 1, ..g };
    let (n, channels) = (g.weight_len(), g.input[2]);
    let (bank, pi) = (coarse(kernels * n, 1, 7), coarse(kernels, 2, 4));
    let (x, bias, residual) = (values(g.input_len(), 3), values(g.out_channels, 4), values(g.output_len(), 5));
    let factors = values(channels, 6);
    let mixture: Vec<f64> =
        (0..n).map(|i| f64::from(rounded((0..kernels).map(|k| pi[k] * bank[k * n + i]).sum()))).collect();
    let single: Vec<f64> = values(n, 7).iter().map(|w| f64::from(rounded(*w))).collect();
    let near: Vec<f32> = x.iter().map(|v| rounded(*v)).collect();
    let scaled: Vec<f32> = x.iter().enumerate().map(|(i, v)| rounded(v * factors[i % channels])).collect();
    let end = |v: &[f64]| -> Vec<f64> {
        let added = v.iter().zip(&residual).map(|(v, r)| v + f64::from(*r));
        added.map(|v| naive(Activation::Relu6, v)).collect()
    };
    let mixed = end(&naive_conv(&g, &mixture, &bias, &near));
    let fixed = end(&naive_conv(&g, &single, &bias, &near));
    let factored = end(&naive_conv(&g, &single, &bias, &scaled));
    let mixed_factored = end(&naive_conv(&g, &mixture, &bias, &scaled));
    let terms = n / g.out_channels;
    let pools = [Pool::new(1), Pool::new(2)];
    for isa in Isa::available() {
        let conv = PanelConv::rounding(g, isa);
        let fixed_bank = conv.pack_fixed(&values(n, 7));
        let banks = [Storage::F32, Storage::Bf16, Storage::Int8].map(|s| conv.pack(kernels, &bank, s));
        let byte_error = (terms * kernels) as f64 / 254.0 + terms as f64 * 2.0 * HALF_UNIT;
        let cases = [
            (&fixed_bank, &[][..], &[][..], &fixed, None),
            (&fixed_bank, &[], &factors, &factored, None),
            (&banks[0], &pi, &[], &mixed, None),
            (&banks[0], &pi, &factors, &mixed_factored, None),
            (&banks[1], &pi, &[], &mixed, None),
            (&banks[2], &pi, &[], &mixed, Some(byte_error)),
        ];
        for (bank, coefficients, input_scale, expected, error) in cases {
            let what = format!("{} {:?} K={kernels} {g:?}", isa.name(), bank.storage());
            let [one, two] = [0, 1].map(|i| {
                let mut y = vec![f32::NAN; g.output_len()];
                let mut sums = vec![f32::NAN; conv.sums_len()];
                let mut scratch = vec![f32::NAN; conv.scratch_len(true, 2)];
                conv.run(
                    Exec { isa, pool: &pools[i] },
                    ConvRun {
                        bank,
                        coefficients,
                        input_scale,
                        residual: &residual,
                        steps: PixelSteps::default(),
                        y: &mut y,
                        x: &x,
                        sums: &mut sums,
                        scratch: &mut scratch,
                        epilogue: Epilogue { bias: &bias, activation: Some(Activation::Relu6) },
                        prefetch: [PrefetchRange::of(&x), PrefetchRange::default()],
                    },
                );
                let (c, pixels) = (g.out_channels, g.output_len() / g.out_channels);
                let mut means = vec![f32::NAN; c];
                crate::mean_of_sums(isa, &sums, pixels, &mut means);
                let mean = |j| (0..pixels).map(|p| f64::from(y[p * c + j])).sum::<f64>() / pixels as f64;
                assert_close(&means, &(0..c).map(mean).collect::<Vec<_>>(), 1e-5, &what);
                y
            });
            assert_eq!(one, two, "two threads give the same bits: {what}");
            match error {
                None => assert_close(&one, expected, TOLERANCE, &what),
                Some(bound) => {
                    let found = one.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
                    assert!(found <= bound, "{what}: {found:e} of {bound:e}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn agrees_with_naive_loops(g in geometry(), kernels in 1usize..6) {
        check(g, kernels);
    }

    #[test]
    fn agrees_with_naive_loops_when_wide(g in geometry(), o in 17usize..70, kernels in 1usize..5) {
        check(ConvGeometry { out_channels: o, groups: 1, ..g }, kernels);
    }
}

/// Large maps, whose chunks visit all panels, and long kernels, whose panels are split into blocks.
#[test]
fn every_order_of_the_loops() {
    let mut orders = [0, 0];
    for (input, out_channels, kernel, stride) in [
        ([29, 31, 5], 35, 1, 1),
        ([57, 56, 24], 50, 1, 2),
        ([40, 41, 3], 16, 3, 2),
        ([5, 7, 1801], 35, 1, 1),
        ([7, 7, 138], 50, 3, 1),
        ([4, 20, 901], 17, 1, 1),
    ] {
        let padding = [kernel / 2; 2];
        let g = ConvGeometry {
            input,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding,
            end_padding: padding,
            dilation: [1; 2],
            groups: 1,
        };
        let conv = PanelConv::rounding(g, Isa::detect());
        orders =
            [orders[0] + usize::from(conv.shape.pixel_major), orders[1] + usize::from(conv.shape.blocks.len() > 1)];
        check(g, 1);
        check(g, 4);
    }
    assert_eq!(orders, [3, 3]);
}

#[test]
#[should_panic(expected = "a kernel that is never mixed")]
fn a_fixed_kernel_is_not_mixed() {
    let g = ConvGeometry {
        input: [1, 1, 2],
        out_channels: 1,
        kernel: [1; 2],
        stride: [1; 2],
        padding: [0; 2],
        end_padding: [0; 2],
        dilation: [1; 2],
        groups: 1,
    };
    let isa = Isa::detect();
    let conv = PanelConv::rounding(g, isa);
    let run = ConvRun {
        bank: &conv.pack_fixed(&[1.0, 2.0]),
        coefficients: &[0.5],
        input_scale: &[],
        residual: &[],
        steps: PixelSteps::default(),
        y: &mut [0.0],
        x: &[1.0, 1.0],
        sums: &mut [],
        scratch: &mut vec![0.0; conv.scratch_len(true, 1)],
        epilogue: Epilogue::default(),
        prefetch: [PrefetchRange::default(); 2],
    };
    conv.run(Exec { isa, pool: &Pool::new(1) }, run);
}
