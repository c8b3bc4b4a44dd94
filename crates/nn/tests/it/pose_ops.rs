//! Transposed convolution and bilinear upsampling in training, compared with PyTorch (`golden/generate_pose.py`),
//! Burn's own operations, and finite differences.

use crate::common::{GOLDEN, LAYER, floats, noise, normal, relative_error};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use dyconv_graph::{Init, UpsampleMode, init};
use dyconv_models::{Options, build};
use dyconv_nn::ops::{TransposedGeometry, conv_transpose, upsample};
use dyconv_nn::{Network, Operations, Value};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value as Json;

#[test]
fn forward_and_every_gradient_equal_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/pose_ops.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Vec<Json> = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(cases.len(), 17);
    let device = Device::flex().autodiff();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let data = |part: &str| {
            let view = file.tensor(&format!("{name}.{part}")).unwrap();
            let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>();
            TensorData::new(values, view.shape().to_vec())
        };
        let near = |part: &str, found: TensorData| {
            let error = relative_error(&floats(found), &floats(data(part)), 1e-30);
            assert!(error <= GOLDEN, "{name} {part}: relative error {error:e}");
        };
        let x = Tensor::<4>::from_data(data("x"), &device).require_grad();
        let dy = Tensor::<4>::from_data(data("dy"), &device);
        if let Some(scale) = case.get("scale") {
            let y = upsample(x.clone(), scale.as_u64().unwrap() as usize, UpsampleMode::Bilinear);
            near("y", y.clone().into_data());
            near("grad.x", x.grad(&(y * dy).sum().backward()).unwrap().into_data());
            continue;
        }
        let pair = |key: &str| [0, 1].map(|a| case[key][a].as_u64().unwrap() as usize);
        let geometry = TransposedGeometry {
            stride: pair("stride"),
            padding: pair("padding"),
            output_padding: pair("output_padding"),
            groups: case["groups"].as_u64().unwrap() as usize,
        };
        let weight = Tensor::<4>::from_data(data("weight"), &device).require_grad();
        let bias = case["bias"].as_bool().unwrap();
        let bias = bias.then(|| Tensor::<1>::from_data(data("bias"), &device).require_grad());
        let y = conv_transpose(x.clone(), weight.clone(), bias.clone(), geometry);
        near("y", y.clone().into_data());
        let grads = (y * dy).sum().backward();
        near("grad.x", x.grad(&grads).unwrap().into_data());
        near("grad.weight", weight.grad(&grads).unwrap().into_data());
        if let Some(bias) = bias {
            near("grad.bias", bias.grad(&grads).unwrap().into_data());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn transposed_convolutions_agree_with_burn(
        n in 1usize..4, size in [1usize..7, 1usize..7], kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..3, 0usize..3], added in [0usize..3, 0usize..3], groups in 1usize..4, channels in [1usize..9, 1usize..9],
    ) {
        let mut geometry = TransposedGeometry {
            stride, padding, output_padding: [0, 1].map(|a| added[a].min(stride[a] - 1)), groups,
        };
        for a in 0..2 {
            while (size[a] - 1) * stride[a] + kernel[a] + geometry.output_padding[a] <= 2 * geometry.padding[a] {
                geometry.padding[a] -= 1;
            }
        }
        let device = Device::flex().autodiff();
        let x = normal([n, channels[0] * groups, size[0], size[1]], &device);
        let weight = normal([channels[0] * groups, channels[1], kernel[0], kernel[1]], &device);
        let bias = normal([channels[1] * groups], &device);
        let dims = conv_transpose(x.clone(), weight.clone(), None, geometry).dims();
        let dy = normal(dims, &device).detach();
        let run = |operations: Operations| {
            let y = operations.conv_transpose(x.clone(), weight.clone(), Some(bias.clone()), geometry);
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data(), weight.grad(&grads).unwrap().into_data(),
             bias.grad(&grads).unwrap().into_data()].map(floats)
        };
        let terms = (dims.iter().product::<usize>() as f32).sqrt();
        for (i, (custom, reference)) in run(Operations::Custom).iter().zip(&run(Operations::Reference)).enumerate() {
            // The errors of sums that may cancel are relative to the size of the terms.
            let error = relative_error(custom, reference, if i == 3 { terms } else { 1.0 });
            prop_assert!(error <= LAYER, "result {i} differs by {error:e}");
        }
    }

    #[test]
    fn upsamplings_agree_with_burn(n in 1usize..4, c in 1usize..20, h in 1usize..9, w in 1usize..9, scale in 1usize..5, nearest in any::<bool>()) {
        let mode = if nearest { UpsampleMode::Nearest } else { UpsampleMode::Bilinear };
        let device = Device::flex().autodiff();
        let (x, dy) = (normal([n, c, h, w], &device), normal([n, c, scale * h, scale * w], &device).detach());
        let run = |operations: Operations| {
            let y = operations.upsample(x.clone(), scale, mode);
            let grads = (y.clone() * dy.clone()).sum().backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data()].map(floats)
        };
        for (custom, reference) in run(Operations::Custom).iter().zip(&run(Operations::Reference)) {
            let error = relative_error(custom, reference, 1.0);
            prop_assert!(error <= LAYER, "differs by {error:e}");
        }
    }
}

/// Compares central differences in one direction with the gradient in that direction.
#[test]
fn gradients_equal_finite_differences() {
    let device = Device::flex().autodiff();
    let x = normal([2, 4, 3, 4], &device);
    let weight = normal([4, 3, 4, 4], &device);
    let geometry = TransposedGeometry { stride: [2, 2], padding: [1, 1], output_padding: [0, 0], groups: 1 };
    // The loss is not linear in x or weight, so that the gradient depends on both.
    let loss = |x: Tensor<4>, weight: Tensor<4>| {
        let y = upsample(conv_transpose(x, weight, None, geometry), 2, UpsampleMode::Bilinear);
        (y.clone() * y).mean()
    };
    let grads = loss(x.clone(), weight.clone()).backward();
    let step = 1e-2;
    let check = |what: &str, gradient: Tensor<4>, at: &dyn Fn(f32, Tensor<4>) -> f32| {
        let direction = Tensor::<4>::random(gradient.dims(), Distribution::Normal(0.0, 1.0), &gradient.device());
        let expected = (gradient * direction.clone()).sum().into_scalar::<f32>();
        let direction = Tensor::from_inner(direction);
        let found = (at(step, direction.clone()) - at(-step, direction)) / (2.0 * step);
        assert!((found - expected).abs() <= 2e-3 * expected.abs().max(0.1), "{what}: {found} instead of {expected}");
    };
    check("x", x.grad(&grads).unwrap(), &|s, d| loss(x.clone() + d * s, weight.clone()).into_scalar::<f32>());
    check("weight", weight.grad(&grads).unwrap(), &|s, d| loss(x.clone(), weight.clone() + d * s).into_scalar::<f32>());
}

/// A training step of small keypoint networks: the outputs are maps, every parameter has a gradient, and the results
/// agree with those of Burn's own operations.
#[test]
fn keypoint_networks_train() {
    let device = Device::flex().autodiff();
    for name in ["pose_dy_mobilenet_v2_x0_35_b", "pose_dy_resnet10_x0_125_a"] {
        let options = Options { joints: 5, image_size: [64, 64], head_width: 0.125, ..Options::default() };
        let graph = build(name, &options).unwrap();
        let mut weights = init(&graph, Init::default());
        // The last layer is initialized near zero, which would make the gradients of the others negligible.
        weights.0.get_mut("heatmaps.weight").unwrap().data.iter_mut().for_each(|w| *w *= 300.0);
        let step = |operations: Operations| {
            let network = Network::new(&graph, &weights, 4.0, &device).unwrap().with_operations(operations);
            let x = Tensor::from_data(TensorData::new(noise(2 * 3 * 64 * 64, 0), [2, 3, 64, 64]), &device);
            let Value::Map(maps) = network.forward(x) else { panic!("{name}: heat maps") };
            assert_eq!(maps.dims(), [2, 5, 16, 16], "{name}");
            let loss = (maps.clone() * maps).mean();
            let value = loss.clone().into_scalar::<f32>();
            let gradients = network.gradients(&loss);
            assert!(gradients.0.iter().all(Option::is_some), "{name}: a gradient for every parameter");
            (value, gradients.norm())
        };
        let (ours, reference) = (step(Operations::Custom), step(Operations::Reference));
        let near = |a: f64, b: f64, tolerance: f64| a > 0.0 && (a - b).abs() <= tolerance * b;
        assert!(near(f64::from(ours.0), f64::from(reference.0), 1e-4), "{name}: losses {ours:?} {reference:?}");
        // A value within rounding of the kink of a ReLU changes its path of gradients.
        assert!(near(ours.1, reference.1, 1e-2), "{name}: gradients {ours:?} {reference:?}");
    }
}
