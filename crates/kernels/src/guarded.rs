//! Tests kernels with raw loads on buffers that end at an inaccessible page.
#![allow(unsafe_code, reason = "maps pages")]

use dyconv_simd::testing::values;

use crate::{
    Activation, Bank, ConvGeometry, ConvRun, ConvTranspose, DepthwiseConv, Epilogue, Exec, Isa, PanelConv, PixelSteps,
    Pool, PoolGeometry, PrefetchRange, Storage, TransposedGeometry, Upsample, Upsampling, WinogradConv, activate, add,
    affine, affine_from, avg_pool, chw_to_hwc, copy_channels, global_avg_pool, hwc_to_chw, interleave_channels,
    leaky_relu, linear, linear_bf16, max_pool, mean_of_sums, mix, mix_linear, multiply, pack_linear_bank,
    pack_linear_bf16, scale, shuffle_channels, softmax,
};

const PAGE: usize = 4096;

const PI: [f32; 4] = [0.1, 0.2, 0.3, 0.4];

/// A copy of the values that ends right before a page that faults. It is never unmapped, as this is a test.
fn guarded(from: &[f32]) -> &'static mut [f32] {
    let bytes = size_of_val(from);
    let whole = bytes.next_multiple_of(PAGE);
    // SAFETY: a fresh mapping, of which the last page is closed; the slice ends where that page begins.
    unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let start = libc::mmap(std::ptr::null_mut(), whole + PAGE, access, kind, -1, 0);
        assert!(start != libc::MAP_FAILED, "a mapping");
        assert_eq!(libc::mprotect(start.add(whole), PAGE, libc::PROT_NONE), 0);
        let values = std::slice::from_raw_parts_mut(start.add(whole - bytes).cast::<f32>(), from.len());
        values.copy_from_slice(from);
        values
    }
}

#[test]
fn convolutions_stay_inside_their_buffers() {
    let pool = Pool::new(2);
    for (input, out, kernel, stride, pad, groups) in [
        ([7, 9, 24], 50, 1, 1, 0, 1),
        ([28, 30, 5], 35, 1, 2, 0, 1),
        ([9, 8, 3], 17, 3, 2, 0, 1),
        ([9, 8, 6], 20, 3, 1, 1, 2),
        ([9, 8, 3], 17, 3, 1, 1, 1),
        ([30, 29, 21], 35, 3, 1, 1, 1),
        ([7, 6, 37], 19, 3, 1, 1, 1),
        ([9, 8, 40], 40, 3, 1, 1, 40),
        ([9, 17, 33], 33, 5, 2, 2, 33),
    ] {
        let g = ConvGeometry {
            input,
            out_channels: out,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [pad; 2],
            end_padding: [pad; 2],
            dilation: [1; 2],
            groups,
        };
        let weight = values(4 * g.weight_len(), 1);
        let (x, residual) = (guarded(&values(g.input_len(), 2)), guarded(&values(g.output_len(), 3)));
        let (y, bias) = (guarded(&vec![f32::NAN; g.output_len()]), guarded(&values(out, 4)));
        for isa in Isa::available() {
            let depthwise = (groups == out).then(|| DepthwiseConv::new(g));
            let rounding = (groups == 1).then(|| PanelConv::rounding(g, isa));
            let winograd = WinogradConv::supports(&g).then(|| WinogradConv::new(g, isa));
            let panels = [Some(PanelConv::new(g, isa)), rounding];
            let sums = |conv: &PanelConv| if groups == 1 { conv.sums_len() } else { 0 };
            let mut run = |bank: &Bank,
                           coefficients: &[f32],
                           [scratch, sums]: [usize; 2],
                           conv: &dyn Fn(Exec<'_>, ConvRun<'_>)| {
                y.fill(f32::NAN);
                let run = ConvRun {
                    bank,
                    coefficients,
                    input_scale: &[],
                    epilogue: Epilogue { bias, activation: (groups == 1).then_some(Activation::Silu) },
                    residual,
                    steps: PixelSteps::default(),
                    x,
                    y,
                    sums: guarded(&vec![0.0; sums]),
                    scratch: guarded(&vec![0.0; scratch]),
                    prefetch: [PrefetchRange::default(); 2],
                };
                conv(Exec { isa, pool: &pool }, run);
                assert!(y.iter().all(|v| v.is_finite()), "{} {:?} {g:?}", isa.name(), bank.storage());
            };
            for conv in panels.iter().flatten() {
                run(
                    &conv.pack_fixed(&weight[..g.weight_len()]),
                    &[],
                    [conv.scratch_len(true, 2), sums(conv)],
                    &|e, r| conv.run(e, r),
                );
            }
            for storage in [Storage::F32, Storage::Bf16, Storage::Int8] {
                if let Some(conv) = &depthwise {
                    run(&conv.pack(4, &weight, storage), &PI, [conv.scratch_len(2), conv.sums_len()], &|e, r| {
                        conv.run(e, r)
                    });
                }
                for conv in panels.iter().flatten() {
                    run(&conv.pack(4, &weight, storage), &PI, [conv.scratch_len(true, 2), sums(conv)], &|e, r| {
                        conv.run(e, r)
                    });
                }
                if let Some(conv) = &winograd {
                    run(&conv.pack(4, &weight, storage), &PI, [conv.scratch_len(true, 2), conv.sums_len()], &|e, r| {
                        conv.run(e, r)
                    });
                }
            }
        }
    }
}

#[test]
fn what_enlarges_maps_stays_inside_its_buffers() {
    let pool = Pool::new(2);
    for (input, out_channels, kernel, stride, padding, groups) in [
        ([8, 6, 24], 50, 4, 2, 1, 1),
        ([5, 7, 3], 17, 4, 2, 1, 1),
        ([3, 4, 6], 20, 3, 2, 1, 2),
        ([4, 3, 5], 5, 1, 3, 0, 1),
        ([2, 5, 40], 40, 5, 1, 2, 40),
    ] {
        let g = TransposedGeometry {
            input,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            output_padding: [0; 2],
            groups,
        };
        let (x, bias) = (guarded(&values(input.iter().product(), 1)), guarded(&values(out_channels, 2)));
        let (weight, y) = (values(g.weight_len(), 3), guarded(&vec![f32::NAN; g.output().iter().product()]));
        let upsample = Upsample::new(input, stride, Upsampling::Bilinear);
        let large = guarded(&vec![f32::NAN; upsample.output().iter().product()]);
        for isa in Isa::available() {
            let exec = Exec { isa, pool: &pool };
            let rounding = (groups == 1).then(|| ConvTranspose::rounding(g, isa));
            for conv in [Some(ConvTranspose::new(g, isa)), rounding].iter().flatten() {
                y.fill(f32::NAN);
                let end = Epilogue { bias, activation: Some(Activation::Silu) };
                let scratch = guarded(&vec![0.0; conv.scratch_len()]);
                conv.run(exec, &conv.pack(&weight), end, x, y, scratch, [PrefetchRange::default(); 2]);
                assert!(y.iter().all(|v| v.is_finite()), "{} {g:?}", isa.name());
            }
            for how in [Upsampling::Bilinear, Upsampling::Nearest] {
                let upsample = Upsample::new(input, stride, how);
                large.fill(f32::NAN);
                upsample.run(exec, None, x, large, guarded(&vec![0.0; upsample.sums_len()]));
                assert!(large.iter().all(|v| v.is_finite()), "{} {input:?}", isa.name());
            }
        }
    }
}

/// Lengths around multiples of vectors and of blocks.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=35).chain([47, 48, 49, 63, 64, 65, 130])
}

#[test]
fn linear_layers_stay_inside_their_buffers() {
    let pool = Pool::new(2);
    for inputs in lengths() {
        for outputs in [1, 3, 4, 17, 600] {
            let weight = values(4 * outputs * inputs, 1);
            let (x, bias) = (guarded(&values(inputs, 2)), guarded(&values(outputs, 3)));
            let (y, scratch) = (guarded(&vec![0.0; outputs]), guarded(&vec![0.0; inputs]));
            let one = guarded(&weight[..outputs * inputs]);
            let bank = guarded(&pack_linear_bank(4, outputs, &weight));
            let words = pack_linear_bf16(outputs, one);
            let words = guarded(&words.iter().map(|w| f32::from_bits(*w)).collect::<Vec<_>>());
            // SAFETY: the same bits, seen as words again.
            let words = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u32>(), words.len()) };
            for isa in Isa::available() {
                let (exec, end) = (Exec { isa, pool: &pool }, Epilogue { bias, activation: Some(Activation::Relu) });
                let mut finite = |what: &str, run: &mut dyn FnMut(&mut [f32])| {
                    y.fill(f32::NAN);
                    run(y);
                    assert!(y.iter().all(|v| v.is_finite()), "{what} {} {inputs} → {outputs}", isa.name());
                };
                finite("linear", &mut |y| linear(exec, one, end, x, y));
                finite("bf16", &mut |y| linear_bf16(exec, words, end, x, y));
                finite("mix", &mut |y| mix_linear(isa, bank, &PI, end, x, scratch, y));
            }
        }
    }
}

#[test]
fn what_works_on_channels_stays_inside_its_buffers() {
    for channels in lengths() {
        let g = PoolGeometry {
            input: [5, 4, channels],
            kernel: [3, 2],
            stride: [2, 1],
            padding: [1, 1],
            end_padding: [1, 1],
        };
        let x = guarded(&values(20 * channels, 1));
        let largest = guarded(&vec![f32::NAN; g.output().iter().product()]);
        let (each, sums) = (guarded(&vec![f32::NAN; channels]), guarded(&values(3 * channels.next_multiple_of(16), 2)));
        let (factors, shifts) = (guarded(&values(channels, 3)), guarded(&values(channels, 4)));
        let (bank, y) = (guarded(&values(4 * channels, 5)), guarded(&values(20 * channels, 6)));
        for isa in Isa::available() {
            let finite = |what: &str, to: &mut [f32]| {
                assert!(to.iter().all(|v| v.is_finite()), "{what} {} {channels}", isa.name());
                to.fill(f32::NAN);
            };
            max_pool(isa, &g, [0, 0], x, largest);
            finite("max_pool", largest);
            avg_pool(isa, &g, false, [0, 0], x, largest);
            finite("avg_pool", largest);
            global_avg_pool(isa, x, each);
            finite("global_avg_pool", each);
            mean_of_sums(isa, sums, 20, each);
            finite("mean_of_sums", each);
            mix(isa, &PI, bank, each);
            finite("mix", each);
            for activation in [None, Some(Activation::HardSwish), Some(Activation::Silu)] {
                let mut on_y = |what: &str, run: &mut dyn FnMut(&mut [f32])| {
                    y.fill(0.5);
                    run(y);
                    finite(what, y);
                };
                on_y("add", &mut |y| add(isa, y, x, activation));
                on_y("scale", &mut |y| scale(isa, y, factors, activation));
                on_y("affine", &mut |y| affine(isa, y, factors, shifts, activation));
                on_y("multiply", &mut |y| multiply(isa, y, x, activation));
                on_y("affine_from", &mut |y| affine_from(isa, x, channels, y, factors, shifts, activation));
                on_y("leaky_relu", &mut |y| leaky_relu(isa, 0.1, y));
                on_y("activate", &mut |y| activate(isa, activation.unwrap_or(Activation::Relu6), y));
            }
        }
        let pair = guarded(&vec![f32::NAN; 2 * x.len()]);
        y.fill(0.5);
        for isa in Isa::available() {
            pair.fill(f32::NAN);
            interleave_channels(isa, channels, [channels; 2], x, y, pair);
            assert!(pair.iter().all(|v| v.is_finite()), "{} {channels}", isa.name());
        }
        copy_channels(channels, [2 * channels, channels], &pair[channels..], y);
        shuffle_channels(channels, channels, x, y);
        softmax(each, 1.0);
        chw_to_hwc(channels, x, y);
        hwc_to_chw(channels, x, y);
    }
}
