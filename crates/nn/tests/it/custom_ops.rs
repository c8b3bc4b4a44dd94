//! Our operations compared with Burn's, layer by layer and over whole networks, and for several numbers of threads.

use crate::common::{LAYER, floats, noise, normal, relative_error};
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use dyconv_graph::{Activation, Init, init};
use dyconv_models::{FAMILIES, Options, build};
use dyconv_nn::ops::{ConvGeometry, conv};
use dyconv_nn::{BatchNorm, Network, Operations, Value};
use proptest::prelude::*;

/// Tolerance for sums of a few thousand products in two orders, through tens of layers.
const NETWORK: f32 = 1e-4;

/// Errors are relative to the largest magnitude, but at least to `floors`, since the terms of a sum may cancel.
fn agree(
    what: &str,
    custom: &[Vec<f32>],
    reference: &[Vec<f32>],
    floors: &[(usize, f32)],
) -> Result<(), TestCaseError> {
    for (i, (custom, reference)) in custom.iter().zip(reference).enumerate() {
        let floor = floors.iter().find(|f| f.0 == i).map_or(1e-30, |f| f.1);
        let error = relative_error(custom, reference, floor);
        prop_assert!(error <= LAYER, "{what}: result {i} differs by {error:e}");
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Shape {
    n: usize,
    channels: [usize; 2],
    side: [usize; 2],
    kernel: [usize; 2],
    geometry: ConvGeometry,
    kernels: usize,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let pair = |r: std::ops::Range<usize>| [r.clone(), r];
    let channels = prop_oneof![
        (1usize..4, 1usize..12, 1usize..12).prop_map(|(g, i, o)| (g, [g * i, g * o])),
        (1usize..24).prop_map(|c| (c, [c, c])),
    ];
    let geometry = (channels, pair(1..6), pair(1..3), pair(0..3), pair(0..3), pair(1..3));
    (1usize..6, geometry, pair(0..9), 1usize..5).prop_map(
        |(n, (c, kernel, stride, padding, end_padding, dilation), extra, kernels)| {
            let padded = |a: usize| padding[a] + end_padding[a];
            let side = |a: usize| (dilation[a] * (kernel[a] - 1) + 1).saturating_sub(padded(a)).max(1) + extra[a];
            let geometry = ConvGeometry { stride, padding, end_padding, dilation, groups: c.0 };
            Shape { n, channels: c.1, side: [side(0), side(1)], kernel, geometry, kernels }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn convolutions_agree(s in shapes()) {
        let device = Device::flex().autodiff();
        let ([i, o], [h, w], [kh, kw]) = (s.channels, s.side, s.kernel);
        let x = normal([s.n, i, h, w], &device);
        let weight = normal([o, i / s.geometry.groups, kh, kw], &device);
        let bias = normal([o], &device);
        let dims = conv(x.clone(), weight.clone(), None, s.geometry).dims();
        let dy = normal(dims, &device).detach();
        let run = |operations: Operations| {
            let y = operations.conv(x.clone(), weight.clone(), Some(bias.clone()), s.geometry);
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data(), weight.grad(&grads).unwrap().into_data(),
             bias.grad(&grads).unwrap().into_data()].map(floats)
        };
        let terms = (dims.iter().product::<usize>() as f32 / s.n as f32).sqrt();
        agree("static", &run(Operations::Custom), &run(Operations::Reference), &[(3, terms)])?;
        let bank = normal([s.kernels, o, i / s.geometry.groups, kh, kw], &device);
        let (pi, bias) = (normal([s.n, s.kernels], &device), normal([s.kernels, o], &device));
        let run = |operations: Operations| {
            let y = operations.mix_conv(x.clone(), pi.clone(), bank.clone(), Some(bias.clone()), s.geometry);
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data(), pi.grad(&grads).unwrap().into_data(),
             bank.grad(&grads).unwrap().into_data(), bias.grad(&grads).unwrap().into_data()].map(floats)
        };
        agree("mixture", &run(Operations::Custom), &run(Operations::Reference), &[(2, terms), (4, terms)])?;
    }

    #[test]
    fn pools_agree(n in 1usize..4, c in 1usize..20, h in 1usize..12, w in 1usize..12) {
        let device = Device::flex().autodiff();
        let (x, dy) = (normal([n, c, h, w], &device), normal([n, c], &device).detach());
        let run = |operations: Operations| {
            let y = operations.global_avg_pool(x.clone());
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data()].map(floats)
        };
        agree("pool", &run(Operations::Custom), &run(Operations::Reference), &[(0, 0.1)])?;
    }

    #[test]
    fn batch_norms_agree(n in 2usize..6, c in 1usize..9, h in 1usize..12, w in 2usize..12, which in 0usize..4) {
        let device = Device::flex().autodiff();
        let act = [None, Some(Activation::Relu), Some(Activation::Relu6), Some(Activation::HardSwish)][which];
        let plain = Tensor::<4>::random([n, c, h, w], Distribution::Normal(0.7, 3.0), &Device::flex());
        let x = Tensor::<4>::from_data(plain.into_data(), &device).require_grad();
        let dy = normal([n, c, h, w], &device).detach();
        let [scale, shift] = [(); 2].map(|()| Tensor::<1>::random([c], Distribution::Normal(0.0, 2.0), &Device::flex()));
        let run = |operations: Operations| {
            let mut norm = BatchNorm::new(c, 1e-3, &device);
            norm.weight = Param::from_data(scale.to_data(), &device);
            norm.bias = Param::from_data(shift.to_data(), &device);
            let y = norm.forward_by(operations, x.clone(), act);
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data(), norm.weight.grad(&grads).unwrap().into_data(),
             norm.bias.grad(&grads).unwrap().into_data(), norm.running_mean.value_sync().into_data(),
             norm.running_var.value_sync().into_data()].map(floats)
        };
        let terms = ((n * h * w) as f32).sqrt();
        agree("batch norm", &run(Operations::Custom), &run(Operations::Reference), &[(1, 1.0), (2, terms), (3, terms)])?;
    }
}

/// Collects every gradient in the order of the parameters.
struct Collect<'a>(&'a mut GradientsParams, Vec<Vec<f32>>);

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.0.remove::<D>(param.id);
        self.1.push(gradient.map_or(Vec::new(), |g| floats(g.into_data())));
    }
}

/// The loss of one step and the gradient of every parameter, for a network without dropout on `batch` images.
fn step(
    operations: Operations,
    name: &str,
    side: usize,
    batch: usize,
    seed: usize,
    scale: f32,
) -> (f32, Vec<Vec<f32>>) {
    let options = Options { image_size: [side; 2], classes: 10, dropout: Some(0.0), ..Options::default() };
    let options = if name.contains("resnet") { Options { dropout: None, ..options } } else { options };
    let graph = build(name, &options).unwrap();
    let training = Device::flex().autodiff();
    let network =
        Network::new(&graph, &init(&graph, Init::default()), 2.0, &training).unwrap().with_operations(operations);
    let values: Vec<f32> = noise(batch * 3 * side * side, seed).into_iter().map(|v| v * scale).collect();
    let x = Tensor::from_data(TensorData::new(values, [batch, 3, side, side]), &training);
    let labels: Vec<i64> = (0..batch as i64).map(|i| i * 3 % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [batch]), &training);
    let Value::Vector(logits) = network.forward(x) else { panic!("a classifier answers with a vector") };
    let loss = CrossEntropyLossConfig::new().init(&training).forward(logits, labels);
    let value = loss.clone().into_scalar::<f32>();
    let mut gradients = GradientsParams::from_grads(loss.backward(), &network);
    let mut collect = Collect(&mut gradients, Vec::new());
    network.visit(&mut collect);
    (value, collect.1)
}

/// The largest gradient error of one step through our operations, and of one through Burn's with every pixel larger by
/// one rounding unit; both relative to the magnitude in a step through Burn's.
fn worst_gradients(name: &str, seed: usize) -> [f32; 2] {
    let ((loss, custom), (near_loss, near), (expected, reference)) = (
        step(Operations::Custom, name, 96, 8, seed, 1.0),
        step(Operations::Reference, name, 96, 8, seed, 1.0 + 2.0 * f32::EPSILON),
        step(Operations::Reference, name, 96, 8, seed, 1.0),
    );
    assert!((loss - expected).abs() <= NETWORK * expected.abs(), "{name}: loss {loss} instead of {expected}");
    assert!(near_loss.is_finite());
    assert!(custom.iter().filter(|g| !g.is_empty()).count() > 10, "{name}: parameters without gradients");
    // Gradients that are zero by construction (a batch norm ignores a shift before it) consist of rounding noise.
    let floor = 1e-4 * reference.iter().flatten().fold(0f32, |m, v| m.max(v.abs()));
    [custom, near].map(|found| {
        found
            .iter()
            .zip(&reference)
            .map(|(found, reference)| relative_error(found, reference, floor))
            .fold(0.0, f32::max)
    })
}

/// One small step through our operations and through Burn's, for every family, static and dynamic.
///
/// A value within rounding of the kink of a ReLU may fall on either side, and that changes a whole path of gradients.
/// If Burn's own gradients react as strongly to one rounding of the input, a few times their largest deviation is the bound.
/// Two batches of up to four must agree: an error of ours would show in nearly all of them, and by far more.
#[test]
fn every_family_takes_the_same_step() {
    for family in FAMILIES {
        for prefix in ["", "dy_"] {
            let name = format!("{prefix}{}_x0_25", family.name);
            let mut tried = Vec::new();
            let (mut agreements, mut largest) = (0, 0f32);
            for seed in 0..4 {
                let [ours, rounding] = worst_gradients(&name, seed);
                tried.push([ours, rounding]);
                largest = largest.max(rounding);
                agreements += usize::from(ours <= NETWORK.max(4.0 * largest));
                if agreements == 2 {
                    break;
                }
            }
            eprintln!("{name}: {tried:?}");
            assert_eq!(agreements, 2, "{name}: gradients differ (ours, one rounding of the input): {tried:?}");
        }
    }
}

/// Gradients are bit-identical on one thread and on two.
#[test]
fn threads_change_nothing() {
    for name in ["dy_mobilenet_v3_small_x0_5", "dy_resnet10_x0_25", "mobilenet_v2_x0_35"] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| step(Operations::Custom, name, 64, 4, 0, 1.0))
        };
        let (one, two) = (with(1), with(2));
        assert!(one == two, "{name}");
        assert!(one == with(1), "{name}: not even twice on one thread");
    }
}
