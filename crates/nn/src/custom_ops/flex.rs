//! The operations on the CPU. Tensors that are not f32 use the generic implementation.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;
use dyconv_train_kernels::{
    BatchConv, BatchNorm, Isa, NormActivation, SgdRule, batch_norm_backward, batch_norm_forward, conv_dweight, conv_dx,
    conv_forward, mix_conv_backward, mix_conv_forward, pool_backward, pool_backward_add, pool_forward, sgd,
    upsample_backward, upsample_forward,
};

use super::{TrainOps, generic};
use crate::geometry::{ConvGeometry, TransposedGeometry};
use crate::processes;

/// The instruction set of every operation.
///
/// # Panics
/// If `DYCONV_ISA` names an instruction set that this CPU does not support; [`Network`](crate::Network) checks it on
/// construction.
fn isa() -> Isa {
    Isa::chosen().unwrap_or_else(|e| panic!("DYCONV_ISA: {e}"))
}

/// The values in contiguous row-major order.
fn dense(t: FlexTensor) -> FlexTensor {
    if t.as_slice::<f32>().is_some() { t } else { t.to_contiguous() }
}

fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice().expect("made dense, and f32")
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

fn wrap_like(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, like.shape()))
}

fn f32s(tensors: &[&FlexTensor]) -> bool {
    tensors.iter().all(|t| t.dtype() == burn::tensor::DType::F32)
}

/// The geometry of `x` `[N, C, H, W]` and a kernel whose last four axes are `[O, C / groups, kh, kw]`.
fn batch_conv(x: &FlexTensor, weight: &FlexTensor, g: ConvGeometry) -> BatchConv {
    let weight = weight.shape();
    g.over(x.shape().dims(), [4, 3, 2, 1].map(|back| weight[weight.num_dims() - back]))
}

fn output(c: &BatchConv) -> [usize; 4] {
    let [h, w] = c.output();
    [c.batch, c.out_channels, h, w]
}

impl TrainOps for Flex {
    fn conv(x: FlexTensor, weight: FlexTensor, g: ConvGeometry) -> FlexTensor {
        if !f32s(&[&x, &weight]) {
            return generic::conv::<Self>(x, weight, g);
        }
        let (x, weight) = (dense(x), dense(weight));
        let c = batch_conv(&x, &weight, g);
        let shape = output(&c);
        tensor(conv_forward(isa(), &c, values(&x), values(&weight)), &shape)
    }

    fn conv_dx(x: FlexTensor, weight: FlexTensor, dy: FlexTensor, g: ConvGeometry) -> FlexTensor {
        if !f32s(&[&x, &weight, &dy]) {
            return generic::conv_dx::<Self>(x, weight, dy, g);
        }
        let (weight, dy) = (dense(weight), dense(dy));
        let c = batch_conv(&x, &weight, g);
        wrap_like(conv_dx(isa(), &c, values(&weight), values(&dy)), &x)
    }

    fn conv_dweight(x: FlexTensor, weight: FlexTensor, dy: FlexTensor, g: ConvGeometry) -> FlexTensor {
        if !f32s(&[&x, &weight, &dy]) {
            return generic::conv_dweight::<Self>(x, weight, dy, g);
        }
        let (x, weight, dy) = (dense(x), dense(weight), dense(dy));
        let c = batch_conv(&x, &weight, g);
        wrap_like(conv_dweight(isa(), &c, values(&x), values(&weight), values(&dy)), &weight)
    }

    fn mix_conv(x: FlexTensor, pi: FlexTensor, bank: FlexTensor, g: ConvGeometry) -> FlexTensor {
        if !f32s(&[&x, &pi, &bank]) {
            return generic::mix_conv::<Self>(x, pi, bank, g);
        }
        let (x, pi, bank) = (dense(x), dense(pi), dense(bank));
        let c = batch_conv(&x, &bank, g);
        let shape = output(&c);
        tensor(mix_conv_forward(isa(), &c, values(&x), values(&pi), values(&bank)), &shape)
    }

    fn mix_conv_backward(
        x: FlexTensor,
        pi: FlexTensor,
        bank: FlexTensor,
        dy: FlexTensor,
        g: ConvGeometry,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !f32s(&[&x, &pi, &bank, &dy]) {
            return generic::mix_conv_backward::<Self>(x, pi, bank, dy, g);
        }
        let (x, pi, bank, dy) = (dense(x), dense(pi), dense(bank), dense(dy));
        let c = batch_conv(&x, &bank, g);
        let [xs, pis, banks, dys] = [&x, &pi, &bank, &dy].map(values);
        let (dx, dpi, dbank) = mix_conv_backward(isa(), &c, xs, pis, banks, dys);
        (wrap_like(dx, &x), wrap_like(dpi, &pi), wrap_like(dbank, &bank))
    }

    // A transposed convolution is the input gradient of a convolution in the opposite direction. Its own gradients are
    // that convolution, and that convolution's gradient with respect to the kernel.
    fn conv_transpose(x: FlexTensor, weight: FlexTensor, g: TransposedGeometry) -> FlexTensor {
        if !f32s(&[&x, &weight]) {
            return generic::conv_transpose::<Self>(x, weight, g);
        }
        let (x, weight) = (dense(x), dense(weight));
        // The convolution in the opposite direction: from the output of the transposed convolution to its input.
        let c = g.back_to(x.shape().dims(), weight.shape().dims());
        let [o, h, w] = c.input;
        tensor(conv_dx(isa(), &c, values(&weight), values(&x)), &[c.batch, o, h, w])
    }

    fn conv_transpose_dx(weight: FlexTensor, dy: FlexTensor, g: TransposedGeometry) -> FlexTensor {
        Self::conv(dy, weight, g.convolution())
    }

    fn conv_transpose_dweight(x: FlexTensor, weight: FlexTensor, dy: FlexTensor, g: TransposedGeometry) -> FlexTensor {
        Self::conv_dweight(dy, weight, x, g.convolution())
    }

    fn upsample(x: FlexTensor, scale: usize) -> FlexTensor {
        if !f32s(&[&x]) {
            return generic::upsample::<Self>(x, scale);
        }
        let [n, c, h, w] = x.shape().dims();
        tensor(upsample_forward(n * c, [h, w], scale, values(&dense(x))), &[n, c, scale * h, scale * w])
    }

    fn upsample_backward(dy: FlexTensor, scale: usize) -> FlexTensor {
        if !f32s(&[&dy]) {
            return generic::upsample_backward::<Self>(dy, scale);
        }
        let [n, c, h, w] = dy.shape().dims();
        let size = [h / scale, w / scale];
        tensor(upsample_backward(n * c, size, scale, values(&dense(dy))), &[n, c, size[0], size[1]])
    }

    fn norm_act(
        x: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        eps: f64,
        activation: NormActivation,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !f32s(&[&x, &scale, &shift]) {
            return generic::norm_act::<Self>(x, scale, shift, eps, activation);
        }
        let (x, scale, shift) = (dense(x), dense(scale), dense(shift));
        let [n, c, h, w] = x.shape().dims();
        let bn = norm([n, c, h * w], &scale, &shift, eps, activation);
        let (y, mean, variance) = batch_norm_forward(isa(), &bn, values(&x));
        (wrap_like(y, &x), tensor(mean, &[c]), tensor(variance, &[c]))
    }

    fn norm_act_backward(
        x: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        dy: FlexTensor,
        eps: f64,
        activation: NormActivation,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        if !f32s(&[&x, &scale, &shift, &mean, &variance, &dy]) {
            return generic::norm_act_backward::<Self>(x, scale, shift, mean, variance, dy, eps, activation);
        }
        let (x, dy) = (dense(x), dense(dy));
        let [scale, shift, mean, variance] = [scale, shift, mean, variance].map(dense);
        let [n, c, h, w] = x.shape().dims();
        let bn = norm([n, c, h * w], &scale, &shift, eps, activation);
        let [xs, means, variances, dys] = [&x, &mean, &variance, &dy].map(values);
        let (dx, dscale, dshift) = batch_norm_backward(isa(), &bn, xs, means, variances, dys);
        (wrap_like(dx, &x), tensor(dscale, &[c]), tensor(dshift, &[c]))
    }

    fn sgd(weight: FlexTensor, gradient: FlexTensor, velocity: FlexTensor, rule: SgdRule) -> (FlexTensor, FlexTensor) {
        if !f32s(&[&weight, &gradient, &velocity]) {
            return generic::sgd::<Self>(weight, gradient, velocity, rule);
        }
        let (weight, gradient, mut velocity) = (dense(weight), dense(gradient), dense(velocity));
        let moved = match velocity.try_storage_mut::<f32>().filter(|v| v.len() == values(&weight).len()) {
            Some(own) => sgd(isa(), rule, values(&weight), values(&gradient), own),
            None => {
                let mut own = values(&velocity).to_vec();
                let moved = sgd(isa(), rule, values(&weight), values(&gradient), &mut own);
                velocity = wrap_like(own, &velocity);
                moved
            }
        };
        (wrap_like(moved, &weight), velocity)
    }

    fn pool(x: FlexTensor, _: bool) -> FlexTensor {
        if !f32s(&[&x]) {
            return generic::pool::<Self>(x);
        }
        let [n, c, _, _] = x.shape().dims();
        tensor(pool_forward(isa(), n * c, values(&dense(x))), &[n, c])
    }

    fn pool_backward(dy: FlexTensor, h: usize, w: usize) -> FlexTensor {
        if !f32s(&[&dy]) {
            return generic::pool_backward::<Self>(dy, h, w);
        }
        let [n, c] = dy.shape().dims();
        tensor(pool_backward(values(&dense(dy)), h * w), &[n, c, h, w])
    }

    fn pool_backward_add(mut dx: FlexTensor, dy: FlexTensor) -> FlexTensor {
        let [n, c, h, w] = dx.shape().dims();
        let whole = f32s(&[&dx, &dy]) && dx.as_slice::<f32>().is_some_and(|values| values.len() == n * c * h * w);
        match dx.try_storage_mut::<f32>().filter(|values| whole && values.len() == n * c * h * w) {
            Some(values) => pool_backward_add(isa(), self::values(&dense(dy)), h * w, values),
            None => return generic::pool_backward_add::<Self>(dx, dy),
        }
        dx
    }
}

fn norm<'a>(
    size: [usize; 3],
    scale: &'a FlexTensor,
    shift: &'a FlexTensor,
    eps: f64,
    activation: NormActivation,
) -> BatchNorm<'a> {
    let (scale, shift) = (values(scale), values(shift));
    BatchNorm { size, scale, shift, eps: eps as f32, activation, all_reduce: processes::all_reduce() }
}
