//! Custom operations for Burn.
//!
//! [`TrainOps`] extends every backend of Burn. Its default bodies use a backend's own operations and work on any device
//! ([`generic`]); [`flex`] overrides them on the CPU with the kernels of `dyconv-train-kernels`; [`autodiff`] adds
//! gradients. The backward pass of every operation is another operation of the trait, so that the CPU has a kernel for
//! each direction.

mod autodiff;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube;
mod flex;
mod generic;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use dyconv_train_kernels::{NormActivation, SgdRule};

use crate::geometry::{ConvGeometry, TransposedGeometry};

/// The operations. Shapes are `[N, C, H, W]` for feature maps, `[O, C / groups, kh, kw]` for kernels, `[K, …]` for
/// kernel banks, `[N, K]` for coefficients π and `[C]` for batch norms.
#[backend_extension(Autodiff, Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")))]
pub(crate) trait TrainOps: Backend {
    /// Convolution of `x` with `weight`.
    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, g: ConvGeometry) -> FloatTensor<Self> {
        generic::conv::<Self>(x, weight, g)
    }

    /// Gradient of [`TrainOps::conv`] with respect to `x`.
    fn conv_dx(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        g: ConvGeometry,
    ) -> FloatTensor<Self> {
        generic::conv_dx::<Self>(x, weight, dy, g)
    }

    /// Gradient of [`TrainOps::conv`] with respect to `weight`.
    fn conv_dweight(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        g: ConvGeometry,
    ) -> FloatTensor<Self> {
        generic::conv_dweight::<Self>(x, weight, dy, g)
    }

    /// Convolution of each sample with Σ_k π_nk·W_k.
    fn mix_conv(
        x: FloatTensor<Self>,
        pi: FloatTensor<Self>,
        bank: FloatTensor<Self>,
        g: ConvGeometry,
    ) -> FloatTensor<Self> {
        generic::mix_conv::<Self>(x, pi, bank, g)
    }

    /// Gradients of [`TrainOps::mix_conv`] with respect to `x`, `pi` and `bank`.
    fn mix_conv_backward(
        x: FloatTensor<Self>,
        pi: FloatTensor<Self>,
        bank: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        g: ConvGeometry,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        generic::mix_conv_backward::<Self>(x, pi, bank, dy, g)
    }

    /// Transposed convolution of `x` with `weight` `[C, O / groups, kh, kw]`.
    fn conv_transpose(x: FloatTensor<Self>, weight: FloatTensor<Self>, g: TransposedGeometry) -> FloatTensor<Self> {
        generic::conv_transpose::<Self>(x, weight, g)
    }

    /// Gradient of [`TrainOps::conv_transpose`] with respect to `x`.
    fn conv_transpose_dx(weight: FloatTensor<Self>, dy: FloatTensor<Self>, g: TransposedGeometry) -> FloatTensor<Self> {
        generic::conv_transpose_dx::<Self>(weight, dy, g)
    }

    /// Gradient of [`TrainOps::conv_transpose`] with respect to `weight`.
    fn conv_transpose_dweight(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        g: TransposedGeometry,
    ) -> FloatTensor<Self> {
        generic::conv_transpose_dweight::<Self>(x, weight, dy, g)
    }

    /// Bilinear upsampling by an integer factor.
    fn upsample(x: FloatTensor<Self>, scale: usize) -> FloatTensor<Self> {
        generic::upsample::<Self>(x, scale)
    }

    /// Gradient of [`TrainOps::upsample`].
    fn upsample_backward(dy: FloatTensor<Self>, scale: usize) -> FloatTensor<Self> {
        generic::upsample_backward::<Self>(dy, scale)
    }

    /// Batch norm and the activation after it; also returns the mean and the (biased) variance of the batch.
    fn norm_act(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
        activation: NormActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        generic::norm_act::<Self>(x, scale, shift, eps, activation)
    }

    /// Gradients of [`TrainOps::norm_act`] with respect to `x`, `scale` and `shift`.
    #[allow(clippy::too_many_arguments, reason = "what the forward pass took and gave")]
    fn norm_act_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f64,
        activation: NormActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        generic::norm_act_backward::<Self>(x, scale, shift, mean, variance, dy, eps, activation)
    }

    /// The flat weights after a step of stochastic gradient descent, and the velocity.
    fn sgd(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        rule: SgdRule,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        generic::sgd::<Self>(weight, gradient, velocity, rule)
    }

    /// Mean over all pixels: `[N, C, H, W]` → `[N, C]`. With `joins`, the gradient of `x` from its other readers is
    /// available before the gradient of the means is computed, because one of the readers depends on the means.
    fn pool(x: FloatTensor<Self>, joins: bool) -> FloatTensor<Self> {
        let _ = joins;
        generic::pool::<Self>(x)
    }

    /// Gradient of [`TrainOps::pool`] for maps of `h` × `w` pixels.
    fn pool_backward(dy: FloatTensor<Self>, h: usize, w: usize) -> FloatTensor<Self> {
        generic::pool_backward::<Self>(dy, h, w)
    }

    /// Like [`TrainOps::pool_backward`], added to `dx` `[N, C, H, W]`.
    fn pool_backward_add(dx: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        generic::pool_backward_add::<Self>(dx, dy)
    }
}

/// [`TrainOps::conv`] on tensors.
pub(crate) fn conv(x: Tensor<4>, weight: Tensor<4>, g: ConvGeometry) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as TrainOps>::conv(x.into_dispatch(), weight.into_dispatch(), g))
}

/// [`TrainOps::mix_conv`] on tensors.
pub(crate) fn mix_conv(x: Tensor<4>, pi: Tensor<2>, bank: Tensor<5>, g: ConvGeometry) -> Tensor<4> {
    let (x, pi, bank) = (x.into_dispatch(), pi.into_dispatch(), bank.into_dispatch());
    Tensor::from_dispatch(<Dispatch as TrainOps>::mix_conv(x, pi, bank, g))
}

/// [`TrainOps::conv_transpose`] on tensors.
pub(crate) fn conv_transpose(x: Tensor<4>, weight: Tensor<4>, g: TransposedGeometry) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as TrainOps>::conv_transpose(x.into_dispatch(), weight.into_dispatch(), g))
}

/// [`TrainOps::upsample`] on tensors.
pub(crate) fn upsample(x: Tensor<4>, scale: usize) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as TrainOps>::upsample(x.into_dispatch(), scale))
}

/// [`TrainOps::sgd`] on tensors.
pub(crate) fn sgd(
    weight: Tensor<1>,
    gradient: Tensor<1>,
    velocity: Tensor<1>,
    rule: SgdRule,
) -> (Tensor<1>, Tensor<1>) {
    let [weight, gradient, velocity] = [weight, gradient, velocity].map(Tensor::into_dispatch);
    let (weight, velocity) = <Dispatch as TrainOps>::sgd(weight, gradient, velocity, rule);
    (Tensor::from_dispatch(weight), Tensor::from_dispatch(velocity))
}

/// [`TrainOps::pool`] on tensors.
pub(crate) fn pool(x: Tensor<4>, joins: bool) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as TrainOps>::pool(x.into_dispatch(), joins))
}

/// [`TrainOps::norm_act`] on tensors: the output, and the mean and variance of the batch without gradients.
pub(crate) fn norm_act(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    eps: f64,
    activation: NormActivation,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let (x, scale, shift) = (x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    let (y, mean, variance) = <Dispatch as TrainOps>::norm_act(x, scale, shift, eps, activation);
    (Tensor::from_dispatch(y), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}
