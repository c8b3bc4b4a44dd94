//! `DynamicConv2d`: a drop-in replacement for Burn's `Conv2d` whose kernel depends on the input.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use dyconv_graph::{Gate, Router, RouterInit};
use dyconv_train_kernels::start_threads;

use crate::attention::Attention;
use crate::geometry::ConvGeometry;
use crate::ops::{self, mix_conv};

/// Settings of a [`DynamicConv2d`]; pairs are (height, width).
#[derive(Config, Debug)]
pub struct DynamicConv2dConfig {
    /// Numbers of input and output channels.
    pub channels: [usize; 2],
    /// Kernel height and width.
    pub kernel_size: [usize; 2],
    /// Distance between adjacent outputs.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Zeros added on both sides of each axis.
    #[config(default = "[0, 0]")]
    pub padding: [usize; 2],
    /// Distance between adjacent kernel taps.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    #[config(default = 1)]
    pub groups: usize,
    /// Whether each kernel has a bias, mixed by the same attention.
    #[config(default = false)]
    pub bias: bool,
    /// Number K of kernels.
    #[config(default = 4)]
    pub kernels: usize,
    /// Input channels per hidden unit of the attention.
    #[config(default = 4)]
    pub reduction: usize,
    /// Converts scores to coefficients: softmax(·/τ), or sigmoids (CondConv).
    #[config(default = "Gate::Softmax")]
    pub gate: Gate,
    /// Whether the initial attention is peaky, which ruins deep networks; by default it is nearly uniform.
    #[config(default = false)]
    pub large_router_init: bool,
}

/// A convolution that mixes K kernels per sample by an attention over its input (paper §3.2).
#[derive(Module, Debug)]
pub struct DynamicConv2d {
    /// Kernel bank `[K, C_out, C_in / groups, kh, kw]`.
    pub weight: Param<Tensor<5>>,
    /// Bias bank `[K, C_out]`.
    pub bias: Option<Param<Tensor<2>>>,
    /// Computes the coefficients.
    pub attention: Attention,
    #[module(skip)]
    geometry: ConvGeometry,
}

impl DynamicConv2dConfig {
    /// Initializes the layer: weights Kaiming normal over the fan-out, for each kernel separately; biases 0; τ = 30.
    ///
    /// # Panics
    /// If a size is zero or the groups do not divide the channels.
    pub fn init(&self, device: &Device) -> DynamicConv2d {
        start_threads();
        let [c_in, c_out] = self.channels;
        let [kh, kw] = self.kernel_size;
        assert!(
            self.kernels > 0 && self.groups > 0 && kh > 0 && kw > 0,
            "kernels, groups and kernel_size must be positive"
        );
        assert!(
            c_in % self.groups == 0 && c_out % self.groups == 0,
            "groups {} must divide the {c_in} input and {c_out} output channels",
            self.groups
        );
        let std = (2.0 / (c_out / self.groups * kh * kw) as f64).sqrt();
        let shape = [self.kernels, c_out, c_in / self.groups, kh, kw];
        let Self { kernels, reduction, gate, .. } = *self;
        let router = Router { kernels, reduction, gate, ..Router::default() };
        let init = if self.large_router_init { RouterInit::Large } else { RouterInit::Small };
        let Self { stride, padding, dilation, groups, .. } = *self;
        DynamicConv2d {
            weight: Param::from_tensor(Tensor::random(shape, Distribution::Normal(0.0, std), device)),
            bias: self.bias.then(|| Param::from_tensor(Tensor::zeros([self.kernels, c_out], device))),
            attention: Attention::new(c_in, &router, init, device),
            geometry: ConvGeometry { stride, padding, end_padding: padding, dilation, groups },
        }
    }
}

impl DynamicConv2d {
    /// `[N, C_in, H, W]` → `[N, C_out, H', W']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let pi = self.attention.forward(ops::pool_beside_reader(x.clone()));
        mix_conv(x, pi, self.weight.val(), self.bias.as_ref().map(Param::val), self.geometry)
    }

    /// Sets the temperature τ of the attention. It is saved with the layer.
    ///
    /// # Panics
    /// If τ is not a positive finite number.
    pub fn set_temperature(&self, tau: f32) {
        self.attention.set_temperature(tau);
    }
}
