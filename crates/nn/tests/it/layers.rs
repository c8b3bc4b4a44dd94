//! `DynamicConv2d` and `DynamicLinear` compared with PyTorch and finite differences, and properties that follow from
//! the paper.

use crate::common::{GOLDEN, floats};
use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use dyconv_graph::Gate;
use dyconv_nn::{DynamicConv2d, DynamicConv2dConfig, DynamicLinearConfig};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

/// One case of `golden/dynamic_conv.safetensors`, made by `golden/generate.py`.
struct Case<'a> {
    file: &'a SafeTensors<'a>,
    settings: &'a Value,
}

impl Case<'_> {
    fn number(&self, key: &str) -> usize {
        self.settings[key].as_u64().unwrap_or_else(|| panic!("{key} is no whole number")) as usize
    }

    fn name(&self) -> &str {
        self.settings["name"].as_str().unwrap()
    }

    fn data(&self, tensor: &str) -> TensorData {
        let view = self.file.tensor(&format!("{}.{tensor}", self.name())).unwrap();
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
        TensorData::new(values, view.shape().to_vec())
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.data(name), device)
    }

    /// The layer with PyTorch's weights; Burn stores linear weights transposed.
    fn layer(&self, device: &Device) -> DynamicConv2d {
        let k = self.number("k");
        let mut layer = DynamicConv2dConfig::new([self.number("cin"), self.number("cout")], [k, k])
            .with_stride([self.number("stride"); 2])
            .with_padding([self.number("padding"); 2])
            .with_dilation([self.number("dilation"); 2])
            .with_groups(self.number("groups"))
            .with_bias(self.settings["bias"].as_bool().unwrap())
            .with_kernels(self.number("kernels"))
            .init(device);
        layer.weight = Param::from_tensor(self.tensor("bank.weight", device));
        layer.bias = layer.bias.map(|_| Param::from_tensor(self.tensor("bank.bias", device)));
        layer.attention.fc1.weight = Param::from_tensor(self.tensor::<2>("fc1.weight", device).transpose());
        layer.attention.fc1.bias = Some(Param::from_tensor(self.tensor("fc1.bias", device)));
        layer.attention.fc2.weight = Param::from_tensor(self.tensor::<2>("fc2.weight", device).transpose());
        layer.attention.fc2.bias = Some(Param::from_tensor(self.tensor("fc2.bias", device)));
        layer.set_temperature(self.settings["tau"].as_f64().unwrap() as f32);
        layer
    }
}

fn with_cases(check: impl Fn(&Case)) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/dynamic_conv.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(cases.len(), 20);
    for settings in &cases {
        check(&Case { file: &file, settings });
    }
}

/// The relative error of a tensor, whose shape must also be the expected one.
fn relative_error(found: TensorData, expected: TensorData) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    crate::common::relative_error(&floats(found), &floats(expected), 1e-30)
}

#[test]
fn forward_and_every_gradient_equal_pytorch() {
    let device = Device::flex().autodiff();
    with_cases(|case| {
        let layer = case.layer(&device);
        let x = case.tensor::<4>("x", &device).require_grad();
        let near = |what: &str, found: TensorData, expected: TensorData| {
            let error = relative_error(found, expected);
            assert!(error <= GOLDEN, "{} {what}: relative error {error:e}", case.name());
        };
        near("pi", layer.attention.forward_map(x.clone()).into_data(), case.data("pi"));
        let y = layer.forward(x.clone());
        near("y", y.clone().into_data(), case.data("y"));
        let grads = (y * case.tensor("dy", &device)).sum().backward();
        near("grad.x", x.grad(&grads).unwrap().into_data(), case.data("grad.x"));
        near("grad.bank.weight", layer.weight.grad(&grads).unwrap().into_data(), case.data("grad.bank.weight"));
        if let Some(bias) = &layer.bias {
            near("grad.bank.bias", bias.grad(&grads).unwrap().into_data(), case.data("grad.bank.bias"));
        }
        for (name, linear) in [("fc1", &layer.attention.fc1), ("fc2", &layer.attention.fc2)] {
            // With one kernel softmax is constant, so the attention has practically no gradient.
            if case.number("kernels") == 1 {
                continue;
            }
            let weight = linear.weight.grad(&grads).unwrap().transpose().into_data();
            near(&format!("grad.{name}.weight"), weight, case.data(&format!("grad.{name}.weight")));
            let bias = linear.bias.as_ref().unwrap().grad(&grads).unwrap().into_data();
            near(&format!("grad.{name}.bias"), bias, case.data(&format!("grad.{name}.bias")));
        }
    });
}

#[test]
fn gradients_equal_finite_differences() {
    let device = Device::flex().autodiff();
    let config = DynamicConv2dConfig::new([4, 6], [3, 2]).with_stride([2, 1]).with_padding([1, 0]).with_groups(2);
    let layer = config.with_bias(true).init(&device);
    layer.set_temperature(2.0);
    let x = Tensor::<4>::random([2, 4, 5, 6], Distribution::Normal(0.0, 1.0), &device);
    let dims = layer.forward(x.clone()).dims();
    let dy = Tensor::<4>::random(dims, Distribution::Normal(0.0, 1.0), &device);
    let loss = |layer: &DynamicConv2d, x: Tensor<4>| (layer.forward(x) * dy.clone()).sum();
    let tracked = x.clone().require_grad();
    let grads = loss(&layer, tracked.clone()).backward();

    // f32 central differences: a step of 1e-2 balances rounding against the curvature of the softmax.
    let step = 1e-2f32;
    let difference =
        |plus: Tensor<1>, minus: Tensor<1>| (plus.into_scalar::<f32>() - minus.into_scalar::<f32>()) / (2.0 * step);
    let bump = |shape: &[usize], at: usize, by: f32| {
        let mut values = vec![0f32; shape.iter().product()];
        values[at] = by;
        TensorData::new(values, shape.to_vec())
    };
    let near = |what: &str, numeric: f32, exact: f32| {
        assert!(
            (numeric - exact).abs() <= 2e-2 * exact.abs().max(1.0),
            "{what}: {numeric} by differences, {exact} by backward"
        );
    };
    let exact = |data: TensorData| data.try_into_vec::<f32>().unwrap();

    let gx = exact(tracked.grad(&grads).unwrap().into_data());
    for at in [0, 7, 59, 119, 239] {
        let shifted = |by| x.clone() + Tensor::from_data(bump(&x.dims(), at, by), &device);
        near("x", difference(loss(&layer, shifted(step)), loss(&layer, shifted(-step))), gx[at]);
    }
    let gw = exact(layer.weight.grad(&grads).unwrap().into_data());
    for at in (0..gw.len()).step_by(37) {
        let shifted = |by| {
            let mut layer = layer.clone();
            let shape = layer.weight.dims();
            layer.weight = layer.weight.map(|w| w + Tensor::from_data(bump(&shape, at, by), &device));
            loss(&layer, x.clone())
        };
        near("weight", difference(shifted(step), shifted(-step)), gw[at]);
    }
    let gb = exact(layer.attention.fc2.bias.as_ref().unwrap().grad(&grads).unwrap().into_data());
    for (at, exact) in gb.iter().enumerate() {
        let shifted = |by| {
            let mut layer = layer.clone();
            layer.attention.fc2.bias =
                layer.attention.fc2.bias.map(|b| b.map(|b| b + Tensor::from_data(bump(&[4], at, by), &device)));
            loss(&layer, x.clone())
        };
        near("fc2.bias", difference(shifted(step), shifted(-step)), *exact);
    }
}

#[test]
fn a_fresh_layer_attends_near_uniformly_at_tau_30_and_sums_to_one() {
    let device = Device::flex();
    device.seed(1);
    let layer = DynamicConv2dConfig::new([64, 8], [3, 3]).init(&device);
    assert_eq!(layer.attention.temperature(), 30.0);
    let x = Tensor::<4>::random([16, 64, 4, 4], Distribution::Normal(0.0, 3.0), &device);
    let pi = layer.attention.forward_map(x).into_data().try_into_vec::<f32>().unwrap();
    assert!(pi.iter().all(|p| (p - 0.25).abs() < 0.02), "{pi:?}");
    for sample in pi.chunks(4) {
        assert!((sample.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn one_kernel_is_the_static_convolution_and_equal_kernels_ignore_attention() {
    let device = Device::flex();
    let config = DynamicConv2dConfig::new([6, 8], [3, 3]).with_padding([1, 1]);
    let x = Tensor::<4>::random([3, 6, 5, 5], Distribution::Normal(0.0, 1.0), &device);
    let plain = |w: Tensor<4>| {
        let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        burn::tensor::module::conv2d(x.clone(), w, None, options).into_data()
    };
    let one = config.clone().with_kernels(1).init(&device);
    let kernel: Tensor<4> = one.weight.val().squeeze_dim(0);
    assert!(relative_error(one.forward(x.clone()).into_data(), plain(kernel.clone())) < 1e-6);
    let mut equal = config.init(&device);
    equal.set_temperature(0.1);
    equal.weight = Param::from_tensor(kernel.clone().unsqueeze::<5>().repeat_dim(0, 4));
    assert!(relative_error(equal.forward(x.clone()).into_data(), plain(kernel)) < 1e-6);
}

#[test]
fn the_temperature_is_saved_with_the_layer() {
    let device = Device::flex();
    let layer = DynamicConv2dConfig::new([8, 8], [1, 1]).init(&device);
    layer.set_temperature(1.5);
    let fresh = DynamicConv2dConfig::new([8, 8], [1, 1]).init(&device);
    let restored = fresh.load_record(layer.clone().into_record());
    assert_eq!(restored.attention.temperature(), 1.5);
    let x = Tensor::<4>::random([2, 8, 3, 3], Distribution::Normal(0.0, 1.0), &device);
    assert_eq!(layer.forward(x.clone()).into_data(), restored.forward(x).into_data());
}

#[test]
fn dynamic_linear_mixes_matrices_and_biases() {
    let device = Device::flex();
    let mut layer = DynamicLinearConfig::new(5, 3).with_kernels(2).init(&device);
    layer.set_temperature(1.0);
    layer.bias = Some(Param::from_tensor(Tensor::random([2, 3], Distribution::Normal(0.0, 1.0), &device)));
    let x = Tensor::<2>::random([4, 5], Distribution::Normal(0.0, 1.0), &device);
    let vec = |t: TensorData| t.try_into_vec::<f32>().unwrap();
    let (xs, pi) = (vec(x.clone().into_data()), vec(layer.attention.forward(x.clone()).into_data()));
    let (w, b) = (vec(layer.weight.val().into_data()), vec(layer.bias.as_ref().unwrap().val().into_data()));
    let y = vec(layer.forward(x).into_data());
    for n in 0..4 {
        for o in 0..3 {
            let mixed = |k: usize| {
                let dot: f32 = (0..5).map(|i| w[(k * 3 + o) * 5 + i] * xs[n * 5 + i]).sum();
                pi[n * 2 + k] * (dot + b[k * 3 + o])
            };
            assert!((y[n * 3 + o] - mixed(0) - mixed(1)).abs() < 1e-5);
        }
    }
}

#[test]
fn a_batch_of_one_trains_and_sigmoid_works() {
    let device = Device::flex().autodiff();
    let layer = DynamicConv2dConfig::new([3, 4], [5, 1]).with_padding([2, 0]).with_gate(Gate::Sigmoid).init(&device);
    let x = Tensor::<4>::random([1, 3, 6, 4], Distribution::Normal(0.0, 1.0), &device);
    let grads = layer.forward(x).sum().backward();
    assert!(layer.weight.grad(&grads).is_some() && layer.attention.fc1.weight.grad(&grads).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Mixing explicitly, then one static convolution per sample, gives the same result for any geometry.
    #[test]
    fn mixing_by_hand_agrees(
        n in 1usize..4, groups in 1usize..4, cg in 1usize..4, og in 1usize..4, kh in 1usize..4, kw in 1usize..4,
        sh in 1usize..3, ph in 0usize..3, dw in 1usize..3, kernels in 1usize..6,
    ) {
        let device = Device::flex();
        let config = DynamicConv2dConfig::new([groups * cg, groups * og], [kh, kw])
            .with_stride([sh, 1]).with_padding([ph, 1]).with_dilation([1, dw]).with_groups(groups).with_kernels(kernels);
        let layer = config.init(&device);
        layer.set_temperature(0.5);
        let x = Tensor::<4>::random([n, groups * cg, 7, 6], Distribution::Normal(0.0, 1.0), &device);
        let pi = layer.attention.forward_map(x.clone());
        let y = layer.forward(x.clone());
        for i in 0..n {
            let pi = pi.clone().narrow(0, i, 1).reshape([kernels, 1, 1, 1, 1]);
            let kernel: Tensor<4> = (layer.weight.val() * pi).sum_dim(0).squeeze_dim(0);
            let options = burn::tensor::ops::ConvOptions::new([sh, 1], [ph, 1], [1, dw], groups);
            let expected = burn::tensor::module::conv2d(x.clone().narrow(0, i, 1), kernel, None, options);
            prop_assert!(relative_error(y.clone().narrow(0, i, 1).into_data(), expected.into_data()) < 1e-5);
        }
    }
}
