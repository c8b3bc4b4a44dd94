//! Batch normalization with PyTorch's running statistics.

use burn::module::{Module, Param, RunningState};
use burn::tensor::module::batch_norm;
use burn::tensor::{Device, Tensor};
use dyconv_graph::Activation;

use crate::operations::Operations;
use crate::ops::activated;
use crate::processes;

/// Weight of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Normalizes each channel of `[N, C, H, W]`: by batch statistics in training, by running statistics in evaluation.
///
/// Burn's own layer accumulates the biased batch variance; this one accumulates the unbiased one, like PyTorch, so that
/// trained models agree. A device with gradients means training.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale γ `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift β `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean `[C]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance `[C]`.
    pub running_var: RunningState<Tensor<1>>,
    /// Added to the variance.
    pub eps: f64,
}

impl BatchNorm {
    /// Scale 1, shift 0, mean 0, variance 1.
    pub fn new(channels: usize, eps: f64, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([channels], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            eps,
        }
    }

    /// Normalizes `[N, C, H, W]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_with(x, None)
    }

    /// Normalizes `[N, C, H, W]` and applies the activation. In training, ReLU, ReLU6 and Hard-Swish are fused at no
    /// extra cost.
    pub fn forward_with(&self, x: Tensor<4>, activation: Option<Activation>) -> Tensor<4> {
        self.forward_by(Operations::Custom, x, activation)
    }

    /// Like [`BatchNorm::forward_with`], with the given implementation of the operations.
    pub fn forward_by(&self, operations: Operations, x: Tensor<4>, activation: Option<Activation>) -> Tensor<4> {
        if !x.device().is_autodiff() {
            return self.evaluate(x, activation);
        }
        let [n, _, h, w] = x.dims();
        let (scale, shift) = (self.weight.val(), self.bias.val());
        let (y, mean, variance) = operations.norm_act(x, scale, shift, self.eps, activation);
        self.remember(processes::total((n * h * w) as f64), mean, variance);
        y
    }

    /// Normalizes `[N, C, H, W]` by the running statistics, also in training, and applies the activation.
    pub fn evaluate(&self, x: Tensor<4>, activation: Option<Activation>) -> Tensor<4> {
        let device = x.device();
        let mean = self.running_mean.value().to_device(&device);
        let var = self.running_var.value().to_device(&device);
        let y = batch_norm(x, self.weight.val(), self.bias.val(), mean, var, self.eps);
        activated(y, activation)
    }

    /// Moves the running statistics towards those of a batch with `count` values per channel.
    fn remember(&self, count: f64, mean: Tensor<1>, variance: Tensor<1>) {
        let unbiased = variance.mul_scalar(count / (count - 1.0).max(1.0));
        for (state, new) in [(&self.running_mean, mean), (&self.running_var, unbiased)] {
            let old = state.value_sync().to_device(&new.device());
            state.update((old.mul_scalar(1.0 - MOMENTUM) + new.mul_scalar(MOMENTUM)).detach());
        }
    }
}
