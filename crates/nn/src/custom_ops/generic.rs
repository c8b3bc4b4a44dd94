//! The operations in terms of a backend's own, for every device. Mixtures use that a convolution is linear in its
//! kernel: all K kernels are convolved at once and their K results mixed, so no kernel per sample is needed.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Scalar, TensorMetadata, get_or_init_device_settings};
use burn::tensor::Shape;
use dyconv_train_kernels::{NormActivation, SgdRule};

use crate::geometry::{ConvGeometry, TransposedGeometry, bilinear};

pub(crate) fn conv<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, g: ConvGeometry) -> FloatTensor<B> {
    B::conv2d(x, weight, None, g.options())
}

pub(crate) fn conv_dx<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    dy: FloatTensor<B>,
    g: ConvGeometry,
) -> FloatTensor<B> {
    B::conv2d_x_backward(x, weight, dy, g.options())
}

pub(crate) fn conv_dweight<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    dy: FloatTensor<B>,
    g: ConvGeometry,
) -> FloatTensor<B> {
    B::conv2d_weight_backward(x, weight, dy, g.options())
}

pub(crate) fn conv_transpose<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    g: TransposedGeometry,
) -> FloatTensor<B> {
    B::conv_transpose2d(x, weight, None, g.options())
}

pub(crate) fn conv_transpose_dx<B: Backend>(
    weight: FloatTensor<B>,
    dy: FloatTensor<B>,
    g: TransposedGeometry,
) -> FloatTensor<B> {
    B::conv2d(dy, weight, None, g.convolution().options())
}

pub(crate) fn conv_transpose_dweight<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    dy: FloatTensor<B>,
    g: TransposedGeometry,
) -> FloatTensor<B> {
    B::conv2d_weight_backward(dy, weight, x, g.convolution().options())
}

pub(crate) fn upsample<B: Backend>(x: FloatTensor<B>, scale: usize) -> FloatTensor<B> {
    let [_, _, h, w] = x.shape().dims();
    B::interpolate(x, [scale * h, scale * w], bilinear())
}

pub(crate) fn upsample_backward<B: Backend>(dy: FloatTensor<B>, scale: usize) -> FloatTensor<B> {
    let [n, c, h, w] = dy.shape().dims();
    let x = B::float_zeros(Shape::new([n, c, h / scale, w / scale]), &dy.device(), dy.dtype().into());
    B::interpolate_backward(x, dy, [h, w], bilinear())
}

/// Sizes of a mixture.
#[derive(Clone, Copy)]
struct Sizes {
    n: usize,
    kernels: usize,
    groups: usize,
    /// Number of output channels of a group.
    outputs: usize,
    /// `[C / groups, kh, kw]`.
    row: [usize; 3],
}

impl Sizes {
    fn new<B: Backend>(x: &FloatTensor<B>, bank: &FloatTensor<B>, g: ConvGeometry) -> Self {
        let [kernels, o, c, kh, kw] = bank.shape().dims();
        Self { n: x.shape()[0], kernels, groups: g.groups, outputs: o / g.groups, row: [c, kh, kw] }
    }

    /// `[K, O, …]` as one kernel `[groups · K · O / groups, …]`: output channels are ordered by group.
    fn stack<B: Backend>(self, bank: FloatTensor<B>) -> FloatTensor<B> {
        let [c, kh, kw] = self.row;
        let all = self.kernels * self.groups * self.outputs;
        let bank = B::float_reshape(bank, Shape::new([self.kernels, self.groups, self.outputs, c * kh * kw]));
        B::float_reshape(B::float_swap_dims(bank, 0, 1), Shape::new([all, c, kh, kw]))
    }

    /// The reverse of [`Sizes::stack`].
    fn unstack<B: Backend>(self, stacked: FloatTensor<B>) -> FloatTensor<B> {
        let [c, kh, kw] = self.row;
        let stacked = B::float_reshape(stacked, Shape::new([self.groups, self.kernels, self.outputs, c * kh * kw]));
        let bank = B::float_swap_dims(stacked, 0, 1);
        B::float_reshape(bank, Shape::new([self.kernels, self.groups * self.outputs, c, kh, kw]))
    }

    /// π as `[N, 1, K, 1]`.
    fn pi<B: Backend>(self, pi: FloatTensor<B>) -> FloatTensor<B> {
        B::float_reshape(pi, Shape::new([self.n, 1, self.kernels, 1]))
    }
}

pub(crate) fn mix_conv<B: Backend>(
    x: FloatTensor<B>,
    pi: FloatTensor<B>,
    bank: FloatTensor<B>,
    g: ConvGeometry,
) -> FloatTensor<B> {
    let s = Sizes::new::<B>(&x, &bank, g);
    let y = B::conv2d(x, s.stack::<B>(bank), None, g.options());
    let [_, _, h, w] = y.shape().dims();
    let y = B::float_reshape(y, Shape::new([s.n, s.groups, s.kernels, s.outputs * h * w]));
    let y = B::float_sum_dim(B::float_mul(y, s.pi::<B>(pi)), 2);
    B::float_reshape(y, Shape::new([s.n, s.groups * s.outputs, h, w]))
}

pub(crate) fn mix_conv_backward<B: Backend>(
    x: FloatTensor<B>,
    pi: FloatTensor<B>,
    bank: FloatTensor<B>,
    dy: FloatTensor<B>,
    g: ConvGeometry,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let s = Sizes::new::<B>(&x, &bank, g);
    let [_, _, h, w] = dy.shape().dims();
    let stacked = s.stack::<B>(bank);
    let dy = B::float_reshape(dy, Shape::new([s.n, s.groups, 1, s.outputs * h * w]));
    let y = B::conv2d(x.clone(), stacked.clone(), None, g.options());
    let y = B::float_reshape(y, Shape::new([s.n, s.groups, s.kernels, s.outputs * h * w]));
    let dpi = B::float_sum_dim(B::float_sum_dim(B::float_mul(y, dy.clone()), 3), 1);
    let dpi = B::float_reshape(dpi, Shape::new([s.n, s.kernels]));
    let each = B::float_mul(dy, s.pi::<B>(pi));
    let each = B::float_reshape(each, Shape::new([s.n, s.groups * s.kernels * s.outputs, h, w]));
    let dx = B::conv2d_x_backward(x.clone(), stacked.clone(), each.clone(), g.options());
    let dbank = s.unstack::<B>(B::conv2d_weight_backward(x, stacked, each, g.options()));
    (dx, dpi, dbank)
}

pub(crate) fn norm_act<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    eps: f64,
    activation: NormActivation,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let norm = B::batch_norm_train(x, scale, shift, eps);
    let z = norm.output;
    let y = match activation {
        NormActivation::None => z,
        NormActivation::Relu => B::relu(z),
        NormActivation::Relu6 => B::float_clamp(z, scalar(0.0), scalar(6.0)),
        NormActivation::HardSwish => B::float_mul(z.clone(), hard_sigmoid::<B>(z)),
    };
    (y, norm.mean, norm.variance)
}

fn scalar(x: f64) -> Scalar {
    Scalar::from(x)
}

/// min(max(z + 3, 0), 6) / 6
fn hard_sigmoid<B: Backend>(z: FloatTensor<B>) -> FloatTensor<B> {
    let lifted = B::float_clamp(B::float_add_scalar(z, scalar(3.0)), scalar(0.0), scalar(6.0));
    B::float_div_scalar(lifted, scalar(6.0))
}

/// 1 where z > at, else 0.
fn above<B: Backend>(z: FloatTensor<B>, at: f64) -> FloatTensor<B> {
    let dtype = z.dtype().into();
    let bools = get_or_init_device_settings::<B>(&z.device()).bool_dtype;
    let mask = B::float_greater_elem(z, scalar(at), bools);
    B::bool_into_float(mask, dtype)
}

#[allow(clippy::too_many_arguments, reason = "what the forward pass took and gave")]
pub(crate) fn norm_act_backward<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    dy: FloatTensor<B>,
    eps: f64,
    activation: NormActivation,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let z = || B::batch_norm(x.clone(), scale.clone(), shift.clone(), mean.clone(), variance.clone(), eps);
    let slope = match activation {
        NormActivation::None => None,
        NormActivation::Relu => Some(above::<B>(z(), 0.0)),
        NormActivation::Relu6 => Some(B::float_sub(above::<B>(z(), 0.0), above::<B>(z(), 6.0))),
        // (z/3 + 1/2) between −3 and 3, 1 above: hard_sigmoid(z) + z/6 between.
        NormActivation::HardSwish => {
            let between = B::float_sub(above::<B>(z(), -3.0), above::<B>(z(), 3.0));
            let sixth = B::float_div_scalar(B::float_mul(z(), between), scalar(6.0));
            Some(B::float_add(hard_sigmoid::<B>(z()), sixth))
        }
    };
    let dz = slope.map_or(dy.clone(), |slope| B::float_mul(dy, slope));
    let back = B::batch_norm_train_backward(x.clone(), scale.clone(), mean.clone(), variance.clone(), eps, dz);
    (back.x_grad, back.gamma_grad, back.beta_grad)
}

pub(crate) fn sgd<B: Backend>(
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    velocity: FloatTensor<B>,
    rule: SgdRule,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let scaled = |t: FloatTensor<B>, by: f32| B::float_mul_scalar(t, Scalar::from(by));
    let gradient = B::float_add(gradient, scaled(weight.clone(), rule.decay));
    let velocity = B::float_add(scaled(velocity, rule.momentum), gradient.clone());
    let step = match rule.nesterov {
        true => B::float_add(gradient, scaled(velocity.clone(), rule.momentum)),
        false => velocity.clone(),
    };
    (B::float_sub(weight, scaled(step, rule.lr)), velocity)
}

pub(crate) fn pool<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let [n, c, h, w] = x.shape().dims();
    let mean = B::float_mean_dim(B::float_reshape(x, Shape::new([n, c, h * w])), 2);
    B::float_reshape(mean, Shape::new([n, c]))
}

pub(crate) fn pool_backward_add<B: Backend>(dx: FloatTensor<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
    let [_, _, h, w] = dx.shape().dims();
    B::float_add(dx, pool_backward::<B>(dy, h, w))
}

pub(crate) fn pool_backward<B: Backend>(dy: FloatTensor<B>, h: usize, w: usize) -> FloatTensor<B> {
    let [n, c] = dy.shape().dims();
    let each = B::float_div_scalar(B::float_reshape(dy, Shape::new([n, c, 1, 1])), scalar((h * w) as f64));
    B::float_expand(each, Shape::new([n, c, h, w]))
}
