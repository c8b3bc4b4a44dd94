//! Kernels with raw loads on buffers that end at a page that can be neither read nor written.
#![allow(unsafe_code, reason = "maps pages")]

use crate::testing::values;
use crate::{
    Bank, ConvGeometry, ConvRun, DepthwiseConv, Epilogue, Exec, Isa, PanelConv, Pool, Span, Storage, WinogradConv,
};

const PAGE: usize = 4096;

const PI: [f32; 4] = [0.1, 0.2, 0.3, 0.4];

unsafe extern "C" {
    fn mmap(at: *mut u8, bytes: usize, protection: i32, flags: i32, file: i32, offset: i64) -> *mut u8;
    fn mprotect(at: *mut u8, bytes: usize, protection: i32) -> i32;
}

/// The values, right before a page that faults. Never unmapped: this is a test.
fn guarded(from: &[f32]) -> &'static mut [f32] {
    let bytes = size_of_val(from);
    let whole = bytes.next_multiple_of(PAGE);
    const READ_WRITE: i32 = 3;
    const PRIVATE_ANONYMOUS: i32 = 0x22;
    // SAFETY: a fresh mapping, of which the last page is closed; the slice ends where that page begins.
    unsafe {
        let start = mmap(std::ptr::null_mut(), whole + PAGE, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
        assert!(start.addr() != usize::MAX, "a mapping");
        assert_eq!(mprotect(start.add(whole), PAGE, 0), 0);
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
                    epilogue: Epilogue { bias, activation: None },
                    residual,
                    x,
                    y,
                    sums: guarded(&vec![0.0; sums]),
                    scratch: guarded(&vec![0.0; scratch]),
                    upcoming: [Span::default(); 2],
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
