//! `DynamicLinear`: a drop-in replacement for Burn's `Linear` whose matrix depends on the input.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor};
use dyconv_graph::{Gate, Router, RouterInit};
use dyconv_train_kernels::start_threads;

use crate::attention::Attention;
use crate::ops::mix_linear;

/// Settings of a [`DynamicLinear`].
#[derive(Config, Debug)]
pub struct DynamicLinearConfig {
    /// Number of input features.
    pub d_input: usize,
    /// Number of output features.
    pub d_output: usize,
    /// Whether each matrix has a bias, mixed by the same attention.
    #[config(default = true)]
    pub bias: bool,
    /// Number K of matrices.
    #[config(default = 4)]
    pub kernels: usize,
    /// Input features per hidden unit of the attention.
    #[config(default = 4)]
    pub reduction: usize,
    /// Converts scores to coefficients: softmax(·/τ), or sigmoids (CondConv).
    #[config(default = "Gate::Softmax")]
    pub gate: Gate,
}

/// The dynamic perceptron: mixes K matrices per sample by an attention over its input (paper §3.1).
#[derive(Module, Debug)]
pub struct DynamicLinear {
    /// Matrices `[K, d_output, d_input]`.
    pub weight: Param<Tensor<3>>,
    /// Biases `[K, d_output]`.
    pub bias: Option<Param<Tensor<2>>>,
    /// Computes the coefficients.
    pub attention: Attention,
}

impl DynamicLinearConfig {
    /// Initializes the layer: weights uniform in ±1/√d_input, for each matrix separately; biases 0; τ = 30.
    ///
    /// # Panics
    /// If a size is zero.
    pub fn init(&self, device: &Device) -> DynamicLinear {
        start_threads();
        let Self { d_input, d_output, kernels, reduction, gate, .. } = *self;
        assert!(d_input > 0 && d_output > 0 && kernels > 0, "d_input, d_output and kernels must be positive");
        let bound = 1.0 / (d_input as f64).sqrt();
        let router = Router { kernels, reduction, gate, ..Router::default() };
        let shape = [kernels, d_output, d_input];
        DynamicLinear {
            weight: Param::from_tensor(Tensor::random(shape, Distribution::Uniform(-bound, bound), device)),
            bias: self.bias.then(|| Param::from_tensor(Tensor::zeros([kernels, d_output], device))),
            attention: Attention::new(d_input, &router, RouterInit::Small, device),
        }
    }
}

impl DynamicLinear {
    /// `[N, d_input]` → `[N, d_output]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let pi = self.attention.forward(x.clone());
        mix_linear(x, pi, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// Sets the temperature τ of the attention. It is saved with the layer.
    ///
    /// # Panics
    /// If τ is not a positive finite number.
    pub fn set_temperature(&self, tau: f32) {
        self.attention.set_temperature(tau);
    }
}
