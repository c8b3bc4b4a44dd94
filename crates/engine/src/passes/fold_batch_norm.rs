//! Folds a batch norm after a convolution, which is affine per output channel, into the weights.
//!
//! scale·(Σ_k π_k (W_k·x + b_k) + b) + shift = Σ_k π_k ((scale·W_k)·x + scale·b_k) + (scale·b + shift):
//! the scale is folded into every kernel and every bias, the shift only into the bias that is not mixed.

use super::absorb;
use crate::lowered::{Layer, Lowered, StepOp};

pub(crate) fn fold_batch_norm(lowered: Lowered) -> Lowered {
    absorb(lowered, |producer, step, sole| match (&mut producer.op, &step.op) {
        (StepOp::Conv(layer), StepOp::Affine { scale, shift, .. }) if sole && layer.activation.is_none() => {
            fold(layer, scale, shift);
            true
        }
        (StepOp::ConvTranspose(layer), StepOp::Affine { scale, shift, .. }) if sole && layer.activation.is_none() => {
            fold(layer, scale, shift);
            true
        }
        _ => false,
    })
}

fn fold<S>(layer: &mut Layer<S>, scale: &[f32], shift: &[f32]) {
    if layer.weight_scale.is_empty() {
        layer.weight_scale = vec![1.0; scale.len()];
    }
    layer.weight_scale.iter_mut().zip(scale).for_each(|(w, s)| *w *= s);
    for (i, b) in layer.mixed_bias.iter_mut().enumerate() {
        *b *= scale[i % scale.len()];
    }
    if layer.bias.is_empty() {
        layer.bias = vec![0.0; scale.len()];
    }
    for ((b, scale), shift) in layer.bias.iter_mut().zip(scale).zip(shift) {
        *b = *b * scale + shift;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Builder, Conv2d, Gate, Graph, MixConv, Op, Router, Tensor, Weights};

    /// A mixture with biases and a sigmoid router, whose coefficients do not sum to one, followed by a batch norm.
    fn network(read_twice: bool) -> (Graph, Weights) {
        let mut b = Builder::new([2, 3, 3]).unwrap();
        let x = b.input();
        let router = Router { kernels: 2, gate: Gate::Sigmoid, ..Router::default() };
        let pi = b.router("router", x, &router).unwrap();
        let conv = Conv2d { bias: true, ..Conv2d::new(2, [1, 1]) };
        let y = b.push("conv", Op::MixConv(MixConv { kernels: 2, conv }), &[x, pi]).unwrap();
        let mut z = b.push("bn", Op::BatchNorm { eps: 1.0 }, &[y]).unwrap();
        if read_twice {
            z = b.push("sum", Op::Add, &[y, z]).unwrap();
        }
        let graph = b.finish(z).unwrap();
        let mut weights = dyconv_graph::init(&graph, Default::default());
        for (name, values) in [
            ("conv.weight", vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
            ("conv.bias", vec![1.0, 2.0, 3.0, 4.0]),
            ("bn.weight", vec![2.0, 4.0]),
            ("bn.bias", vec![0.5, 0.25]),
            ("bn.running_mean", vec![1.0, 3.0]),
            ("bn.running_var", vec![3.0, 3.0]),
        ] {
            let shape = weights.get(name).shape.clone();
            weights.0.insert(name.into(), Tensor::new(&shape, values));
        }
        (graph, weights)
    }

    #[test]
    fn the_scale_is_mixed_and_the_shift_is_not() {
        let (graph, weights) = network(false);
        let mut lowered = fold_batch_norm(Lowered::new(&graph, &weights).unwrap());
        assert_eq!(names(&lowered).last(), Some(&"bn"));
        lowered.steps[lowered.output].load(&weights, &mut Vec::new()).unwrap();
        let StepOp::Conv(layer) = &lowered.steps[lowered.output].op else { panic!("a convolution") };
        assert_eq!(layer.weight, [1.0, 2.0, 6.0, 8.0, 5.0, 6.0, 14.0, 16.0]);
        assert_eq!(layer.mixed_bias, [1.0, 4.0, 3.0, 8.0]);
        assert_eq!(layer.bias, [-0.5, -5.75]);
    }

    #[test]
    fn a_value_with_two_readers_is_left_alone() {
        let (graph, weights) = network(true);
        let before = Lowered::new(&graph, &weights).unwrap();
        assert_eq!(names(&fold_batch_norm(before.clone())), names(&before));
    }
}
