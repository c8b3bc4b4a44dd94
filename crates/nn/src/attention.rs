//! The attention of a drop-in layer: computes the mixing coefficients from the input.

use burn::module::{Module, RunningState};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use dyconv_graph::{Activation, Gate, Router, RouterInit, RouterStep};

use crate::ops;

/// [`Router::steps`] over pooled features (paper §3.2).
///
/// The temperature is part of the layer's record, so a layer that is saved and loaded attends as before.
#[derive(Module, Debug)]
pub struct Attention {
    /// Reduces the features.
    pub fc1: Linear,
    /// Computes one score per kernel.
    pub fc2: Linear,
    /// τ, one number.
    pub temperature: RunningState<Tensor<1>>,
    #[module(skip)]
    steps: [RouterStep; 4],
}

impl Attention {
    /// An attention over `channels` features with τ = 30, the start of the usual schedule.
    pub fn new(channels: usize, router: &Router, init: RouterInit, device: &Device) -> Self {
        let (hidden, steps) = (router.hidden(channels), router.steps(channels));
        let linear = |from, to| match init {
            RouterInit::Small => LinearConfig::new(from, to).init(device),
            RouterInit::Large => {
                let initializer = Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true };
                let mut linear = LinearConfig::new(from, to).with_initializer(initializer).init(device);
                linear.bias = linear.bias.map(|b| b.map(|t| t.zeros_like()));
                linear
            }
        };
        Self {
            fc1: linear(channels, hidden),
            fc2: linear(hidden, router.kernels),
            temperature: RunningState::new(Tensor::from_floats([30.0], device)),
            steps,
        }
    }

    /// Coefficients `[N, K]` for pooled features `[N, C]`.
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let mut layers = [&self.fc1, &self.fc2].into_iter();
        self.steps.iter().fold(features, |x, step| match step {
            RouterStep::Linear(..) => layers.next().expect("a router has two linear layers").forward(x),
            RouterStep::Activation(activation) => ops::activation(*activation, x),
            RouterStep::Gate(Gate::Softmax) => ops::softmax(x, self.temperature()),
            RouterStep::Gate(Gate::Sigmoid) => ops::activation(Activation::Sigmoid, x),
        })
    }

    /// Coefficients `[N, K]` for a feature map `[N, C, H, W]`.
    pub fn forward_map(&self, x: Tensor<4>) -> Tensor<2> {
        self.forward(ops::global_avg_pool(x))
    }

    /// Sets τ.
    ///
    /// # Panics
    /// If τ is not a positive finite number.
    pub fn set_temperature(&self, tau: f32) {
        assert!(tau.is_finite() && tau > 0.0, "the temperature must be a positive number, got {tau}");
        let device = self.temperature.value().device();
        self.temperature.update(Tensor::from_floats([tau], &device));
        // A second read on this thread makes the update visible to clones and records.
        let _ = self.temperature.value_sync();
    }

    /// The current τ.
    pub fn temperature(&self) -> f32 {
        self.temperature.value_sync().into_scalar()
    }
}
