//! Every kernel once at a small size, and the pool under contention. For Miri (`tools/miri.sh`) and emulators, which
//! would take hours for the thorough tests beside the code.

use std::sync::atomic::{AtomicUsize, Ordering};

use dyconv_kernels::{
    Activation, Bank, ConvGeometry, ConvRun, DepthwiseConv, Epilogue, Exec, Isa, PanelConv, PixelSteps, Pool,
    PoolGeometry, PrefetchRange, Storage, WinogradConv, activate, add, affine, affine_from, avg_pool, chw_to_hwc,
    copy_channels, global_avg_pool, hwc_to_chw, interleave_channels, leaky_relu, linear, linear_bf16, max_pool,
    mean_of_sums, mix, mix_linear, multiply, pack_linear_bank, pack_linear_bf16, scale, shuffle_channels, softmax,
};

/// f32 sums of at most a few hundred products, compared with f64.
const EXACT: f64 = 1e-4;

/// `n` pseudo-random values in -1..1.
fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + i / 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*f) - e).abs() <= tolerance, "{what}: value {i} is {f} instead of {e}");
    }
}

/// The definition: `x` `[H, W, C]`, `bank` `[K, O, C/groups, kh, kw]`, then bias, residual and ReLU.
fn naive(g: &ConvGeometry, bank: &[f32], pi: &[f32], bias: &[f32], residual: &[f32], x: &[f32]) -> Vec<f64> {
    let ([h, w, c], [oh, ow, out]) = (g.input, g.output());
    let (per_group, len, taps) = (c / g.groups, g.weight_len(), g.taps());
    let mut y = Vec::new();
    for (oy, ox, o) in (0..oh * ow * out).map(|i| (i / out / ow, i / out % ow, i % out)) {
        let mut sum = f64::from(bias[o]) + f64::from(residual[y.len()]);
        for (i, tap) in (0..per_group * taps).map(|i| (i / taps, i % taps)) {
            let iy = oy * g.stride[0] + tap / g.kernel[1] * g.dilation[0];
            let ix = ox * g.stride[1] + tap % g.kernel[1] * g.dilation[1];
            let (Some(iy), Some(ix)) = (iy.checked_sub(g.padding[0]), ix.checked_sub(g.padding[1])) else { continue };
            if iy < h && ix < w {
                let channel = o / (out / g.groups) * per_group + i;
                let weight = |k: usize| f64::from(bank[k * len + (o * per_group + i) * taps + tap]);
                let mixed: f64 = pi.iter().enumerate().map(|(k, pi)| f64::from(*pi) * weight(k)).sum();
                sum += mixed * f64::from(x[(iy * w + ix) * c + channel]);
            }
        }
        y.push(sum.max(0.0));
    }
    y
}

/// Packs and runs a convolution with every storage of its bank, on one thread and on two; `[scratch, sums]` are the
/// sizes for two.
fn check(
    isa: Isa,
    what: &str,
    g: &ConvGeometry,
    [scratch, sums]: [usize; 2],
    pack: impl Fn(usize, &[f32], Storage) -> Bank,
    run: impl Fn(Exec<'_>, ConvRun<'_>),
) {
    const K: usize = 2;
    let (x, weight, pi) = (values(g.input_len(), 1), values(K * g.weight_len(), 2), [0.75f32, 0.25]);
    let (bias, residual) = (values(g.out_channels, 3), values(g.output_len(), 4));
    let expected = naive(g, &weight, &pi, &bias, &residual, &x);
    let terms = (g.weight_len() / g.out_channels) as f64;
    for (storage, unit) in [(Storage::F32, 0.0), (Storage::Bf16, 0.5f64.powi(9)), (Storage::Int8, 1.0 / 254.0)] {
        let bank = pack(K, &weight, storage);
        let answers = [1, 2].map(|threads| {
            let pool = Pool::new(threads);
            let (mut y, mut sums) = (vec![f32::NAN; g.output_len()], vec![f32::NAN; sums]);
            let conv = ConvRun {
                bank: &bank,
                coefficients: &pi,
                input_scale: &[],
                epilogue: Epilogue { bias: &bias, activation: Some(Activation::Relu) },
                residual: &residual,
                steps: PixelSteps::default(),
                x: &x,
                y: &mut y,
                sums: &mut sums,
                scratch: &mut vec![f32::NAN; scratch],
                prefetch: [PrefetchRange::of(&x), PrefetchRange::default()],
            };
            run(Exec { isa, pool: &pool }, conv);
            let mut means = vec![f32::NAN; g.out_channels];
            mean_of_sums(isa, &sums, g.output_len() / g.out_channels, &mut means);
            (y, means)
        });
        let what = format!("{what} {storage:?} {}", isa.name());
        let tolerance = EXACT + terms * unit;
        assert_eq!(answers[0], answers[1], "two threads give the same bits: {what}");
        assert_close(&answers[0].0, &expected, tolerance, &what);
        let pixels = (expected.len() / g.out_channels) as f64;
        let mean = |o| expected.iter().skip(o).step_by(g.out_channels).sum::<f64>() / pixels;
        assert_close(&answers[0].1, &(0..g.out_channels).map(mean).collect::<Vec<_>>(), tolerance, &what);
    }
}

/// 3×3 taps at stride one; one output channel more than a vector.
const DENSE: ConvGeometry = ConvGeometry {
    input: [3, 3, 2],
    out_channels: 17,
    kernel: [3, 3],
    stride: [1, 1],
    padding: [1, 1],
    end_padding: [1, 1],
    dilation: [1, 1],
    groups: 1,
};

#[test]
fn panels() {
    for isa in Isa::available() {
        let conv = PanelConv::new(DENSE, isa);
        let room = [conv.scratch_len(true, 2), conv.sums_len()];
        check(isa, "panels", &DENSE, room, |k, w, s| conv.pack(k, w, s), |exec, run| conv.run(exec, run));
    }
}

#[test]
fn winograd() {
    for isa in Isa::available() {
        let conv = WinogradConv::new(DENSE, isa);
        let room = [conv.scratch_len(true, 2), conv.sums_len()];
        check(isa, "Winograd", &DENSE, room, |k, w, s| conv.pack(k, w, s), |exec, run| conv.run(exec, run));
    }
}

#[test]
fn depthwise() {
    let geometry = ConvGeometry { input: [3, 4, 17], stride: [2, 1], groups: 17, ..DENSE };
    for isa in Isa::available() {
        let conv = DepthwiseConv::new(geometry);
        let room = [conv.scratch_len(2), conv.sums_len()];
        check(isa, "depthwise", &geometry, room, |k, w, s| conv.pack(k, w, s), |exec, run| conv.run(exec, run));
    }
}

#[test]
fn linear_layers() {
    let (inputs, outputs) = (35, 7);
    let (x, bank, bias) = (values(inputs, 1), values(2 * outputs * inputs, 2), values(outputs, 3));
    let epilogue = Epilogue { bias: &bias, activation: None };
    let expected = |pi: [f64; 2]| {
        let weight = |o: usize, i: usize| [0, outputs].map(|k| f64::from(bank[(k + o) * inputs + i]));
        let product = |[a, b]: [f64; 2], x: f32| (pi[0] * a + pi[1] * b) * f64::from(x);
        let row = |o| f64::from(bias[o]) + (0..inputs).map(|i| product(weight(o, i), x[i])).sum::<f64>();
        (0..outputs).map(row).collect::<Vec<f64>>()
    };
    let (fixed, pool) = (&bank[..outputs * inputs], Pool::new(2));
    for isa in Isa::available() {
        let (exec, mut y) = (Exec { isa, pool: &pool }, vec![f32::NAN; outputs]);
        linear(exec, fixed, epilogue, &x, &mut y);
        assert_close(&y, &expected([1.0, 0.0]), EXACT, isa.name());
        linear_bf16(exec, &pack_linear_bf16(outputs, fixed), epilogue, &x, &mut y);
        assert_close(&y, &expected([1.0, 0.0]), inputs as f64 * 0.5f64.powi(9), isa.name());
        let packed = pack_linear_bank(2, outputs, &bank);
        mix_linear(isa, &packed, &[0.25, 0.75], epilogue, &x, &mut vec![f32::NAN; inputs], &mut y);
        assert_close(&y, &expected([0.25, 0.75]), EXACT, isa.name());
        let mut mixed = vec![f32::NAN; outputs * inputs];
        mix(isa, &[0.25, 0.75], &bank, &mut mixed);
        linear(exec, &mixed, epilogue, &x, &mut y);
        assert_close(&y, &expected([0.25, 0.75]), EXACT, isa.name());
    }
}

#[test]
fn what_works_on_pixels_and_channels() {
    const C: usize = 18;
    let geometry =
        PoolGeometry { input: [3, 4, C], kernel: [3, 3], stride: [2, 2], padding: [1, 1], end_padding: [1, 1] };
    let (x, factors) = (values(3 * 4 * C, 1), values(C, 2));
    for isa in Isa::available() {
        let mut y = vec![f32::NAN; 2 * 2 * C];
        max_pool(isa, &geometry, [0, 0], &x, &mut y);
        let largest = |o: usize| {
            let (cy, cx, c) = (o / C / 2 * 2, o / C % 2 * 2, o % C);
            let near = (0..12).filter(|p| (p / 4usize).abs_diff(cy) <= 1 && (p % 4usize).abs_diff(cx) <= 1);
            near.map(|p| f64::from(x[p * C + c])).fold(f64::NEG_INFINITY, f64::max)
        };
        assert_close(&y, &(0..y.len()).map(largest).collect::<Vec<_>>(), 0.0, "max pool");
        let mut means = vec![f32::NAN; y.len()];
        avg_pool(isa, &geometry, true, [0, 0], &x, &mut means);
        assert!(means.iter().zip(&y).all(|(mean, largest)| mean <= largest || *largest < 0.0), "pool of means");
        let mut means = vec![f32::NAN; C];
        global_avg_pool(isa, &x, &mut means);
        let mean = |c| x.iter().skip(c).step_by(C).map(|v| f64::from(*v)).sum::<f64>() / 12.0;
        assert_close(&means, &(0..C).map(mean).collect::<Vec<_>>(), EXACT, "average pool");

        let mut y = x.clone();
        scale(isa, &mut y, &factors, None);
        affine(isa, &mut y, &factors, &means, Some(Activation::Relu6));
        let value = |i: usize| {
            let (factor, shift) = (f64::from(factors[i % C]), f64::from(means[i % C]));
            (f64::from(x[i]) * factor * factor + shift).clamp(0.0, 6.0)
        };
        assert_close(&y, &(0..x.len()).map(value).collect::<Vec<_>>(), EXACT, "scale and shift");
        add(isa, &mut y, &x, None);
        let sum = |i: usize| value(i) + f64::from(x[i]);
        assert_close(&y, &(0..x.len()).map(sum).collect::<Vec<_>>(), EXACT, "sum");
        let mut y = x.clone();
        activate(isa, Activation::Relu, &mut y);
        assert_close(&y, &x.iter().map(|v| f64::from(v.max(0.0))).collect::<Vec<_>>(), 0.0, "ReLU");
        multiply(isa, &mut y, &x, Some(Activation::Silu));
        let silu = |v: f64| v / (1.0 + (-v).exp());
        let square = |v: &f32| silu(f64::from(v.max(0.0)) * f64::from(*v));
        assert_close(&y, &x.iter().map(square).collect::<Vec<_>>(), 1e-6, "product");
        leaky_relu(isa, 0.5, &mut y);
        affine_from(isa, &x, C, &mut y, &factors, &factors, None);
        let value = |i: usize| f64::from(factors[i % C]) * (f64::from(x[i]) + 1.0);
        assert_close(&y, &(0..x.len()).map(value).collect::<Vec<_>>(), EXACT, "scale and shift of another map");
        let mut pair = vec![f32::NAN; 2 * x.len()];
        interleave_channels(isa, C, [C, C], &x, &y, &mut pair);
        assert!(pair[0] == x[0] && pair[2 * C + 1] == y[C]);
    }
    let (mut part, mut shuffled) = (vec![f32::NAN; 12 * 5], vec![f32::NAN; x.len()]);
    copy_channels(5, [C, 5], &x[2..x.len() - C + 7], &mut part);
    shuffle_channels(C, 3, &x, &mut shuffled);
    assert!(part[5] == x[C + 2] && shuffled[C + 1] == x[C + 6]);
    let (mut turned, mut back) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    hwc_to_chw(C, &x, &mut turned);
    chw_to_hwc(C, &turned, &mut back);
    assert!(back == x && turned[1] == x[C]);
    let mut z = [1.0, 2.0, 3.0];
    softmax(&mut z, 2.0);
    let exp = [-0.5f64, 0.0, 0.5].map(f64::exp);
    assert_close(&z, &exp.map(|e| e / exp.iter().sum::<f64>()), 1e-6, "softmax");
}

/// Callers that share a pool, and pools that are dropped before their threads have started or after a panic.
#[test]
fn every_part_runs_once_whoever_calls() {
    let pool = Pool::new(3);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..3 {
                    pool.run(4, &|part| {
                        sum.fetch_add(part + 1, Ordering::Relaxed);
                    });
                    std::thread::yield_now();
                }
            });
        }
    });
    assert_eq!(sum.load(Ordering::Relaxed), 2 * 3 * 10);
    drop(pool);
    drop(Pool::new(2));
    let pool = Pool::new(2);
    let fails = std::panic::AssertUnwindSafe(|| pool.run(4, &|part| assert!(part != 2, "part two")));
    assert!(std::panic::catch_unwind(fails).is_err());
}
