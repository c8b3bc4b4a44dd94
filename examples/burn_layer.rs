//! A dynamic convolution as a layer of an ordinary Burn model: `cargo run --release --example burn_layer`
//!
//! Learns to blur bright images and to leave dark ones alone, which no single kernel can do.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it found")]

use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Distribution, Tensor};
use dyconv::nn::{DynamicConv2d, DynamicConv2dConfig};

#[derive(Module, Debug)]
struct Model {
    conv: DynamicConv2d,
}

fn main() {
    let device = Device::flex().autodiff();
    device.seed(0);
    let config = DynamicConv2dConfig::new([1, 1], [3, 3]).with_padding([1, 1]).with_kernels(2);
    let mut model = Model { conv: config.init(&device) };
    let mut optimizer = SgdConfig::new().init();
    let blur = Tensor::<4>::ones([1, 1, 3, 3], &device).div_scalar(9.0);
    for step in 0..=600 {
        // τ falls from 30 to 1 over the first 200 steps.
        model.conv.set_temperature((30.0 - 29.0 * step as f32 / 200.0).max(1.0));
        let bright = Tensor::<4>::random([16, 1, 8, 8], Distribution::Uniform(1.0, 3.0), &device);
        let dark = Tensor::<4>::random([16, 1, 8, 8], Distribution::Uniform(-3.0, -1.0), &device);
        let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let wanted = Tensor::cat(
            vec![burn::tensor::module::conv2d(bright.clone(), blur.clone(), None, options), dark.clone()],
            0,
        );
        let error = model.conv.forward(Tensor::cat(vec![bright, dark], 0)) - wanted;
        let loss = (error.clone() * error).mean();
        if step % 100 == 0 {
            println!(
                "step {step:3}  τ {:5.2}  loss {:.4}",
                model.conv.attention.temperature(),
                loss.clone().into_scalar::<f32>()
            );
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.02, model, gradients);
    }
}
