//! Comparison with the definition, with shapes that are not multiples of tiles or vectors.

use dyconv_simd::testing::values;
use proptest::prelude::*;

use super::*;
use crate::conv::tests::{Sizes as Wanted, check_against_naive};
use crate::{Epilogue, PixelSteps, Pool};

/// Relative to values that ReLU6 has reduced to a sixth of their size or less; hence several times the tolerance of the
/// direct convolution.
const TOLERANCE: f64 = 4e-5;

fn geometry([h, w]: [usize; 2], [c, o]: [usize; 2], padding: [usize; 2]) -> ConvGeometry {
    ConvGeometry {
        input: [h, w, c],
        out_channels: o,
        kernel: [3, 3],
        stride: [1, 1],
        padding,
        end_padding: padding,
        dilation: [1, 1],
        groups: 1,
    }
}

fn check(g: ConvGeometry, kernels: usize) {
    let convs: Vec<WinogradConv> = Isa::available().into_iter().map(|isa| WinogradConv::new(g, isa)).collect();
    let of = |isa: Isa| convs.iter().find(|c| c.isa.name() == isa.name()).unwrap();
    check_against_naive(
        &g,
        kernels,
        |isa| Wanted {
            scratch: of(isa).scratch_len(true, 2),
            sums: of(isa).sums_len(),
            apart: true,
            tolerance: TOLERANCE,
        },
        |w, storage, isa| of(isa).pack(kernels, w, storage),
        |exec, run| of(exec.isa).run(exec, run),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn agrees_with_naive_loops(
        size in [3usize..14, 3usize..14], channels in [1usize..40, 1usize..70], padding in [0usize..3, 0usize..3],
        end_padding in [0usize..3, 0usize..3], kernels in 1usize..6,
    ) {
        check(ConvGeometry { end_padding, ..geometry(size, channels, padding) }, kernels);
    }
}

/// Several blocks of tiles, of channels, and both.
#[test]
fn agrees_with_naive_loops_in_blocks() {
    for (size, channels) in [([37, 30], [7, 35]), ([6, 9], [139, 20]), ([29, 27], [70, 17]), ([3, 200], [5, 16])] {
        let g = geometry(size, channels, [1, 1]);
        check(g, 1);
        check(g, 4);
    }
    let blocks = |size, channels| {
        let conv = WinogradConv::new(geometry(size, channels, [1, 1]), Isa::detect());
        (conv.shape.whole(), conv.shape.channel_blocks() > 1)
    };
    assert_eq!([blocks([37, 30], [7, 35]), blocks([6, 9], [139, 20])], [(true, false), (false, true)]);
    assert_eq!(blocks([29, 27], [70, 17]), (true, true));
}

/// The same bits for any number of threads, in the output and in the sums.
#[test]
fn threads_do_not_change_a_bit() {
    for (size, channels) in [([30, 41], [20, 40]), ([7, 7], [150, 100]), ([5, 3], [3, 3])] {
        let g = geometry(size, channels, [1, 1]);
        let (weight, x) = (values(3 * g.weight_len(), 1), values(g.input_len(), 2));
        for isa in Isa::available() {
            let conv = WinogradConv::new(g, isa);
            let bank = conv.pack(3, &weight, Storage::F32);
            let run = |threads: usize| {
                let mut y = vec![f32::NAN; g.output_len()];
                let (mut sums, mut scratch) =
                    (vec![f32::NAN; conv.sums_len()], vec![f32::NAN; conv.scratch_len(true, threads)]);
                let exec = Exec { isa, pool: &Pool::new(threads) };
                conv.run(
                    exec,
                    ConvRun {
                        bank: &bank,
                        coefficients: &[0.2, 0.5, 0.3],
                        input_scale: &[],
                        epilogue: Epilogue::default(),
                        residual: &[],
                        steps: PixelSteps::default(),
                        x: &x,
                        y: &mut y,
                        sums: &mut sums,
                        scratch: &mut scratch,
                        prefetch: [bank.all(), PrefetchRange::default()],
                    },
                );
                (y, sums)
            };
            let one = run(1);
            assert!((2..6).all(|threads| run(threads) == one), "{} {g:?}", isa.name());
        }
    }
}
