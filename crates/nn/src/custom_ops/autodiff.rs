//! Gradients of the operations: what the forward pass saves, and which operation the backward pass calls.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use dyconv_train_kernels::NormActivation;

use super::TrainOps;
use crate::geometry::{ConvGeometry, TransposedGeometry};

#[derive(Debug)]
struct Conv;

impl<B: TrainOps> Backward<B, 2> for Conv {
    type State = (FloatTensor<B>, FloatTensor<B>, ConvGeometry);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [to_x, to_weight] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, g) = ops.state;
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::conv_dx(x.clone(), weight.clone(), dy.clone(), g));
        }
        if let Some(node) = to_weight {
            grads.register::<B>(node.id, B::conv_dweight(x, weight, dy, g));
        }
    }
}

#[derive(Debug)]
struct MixConv;

impl<B: TrainOps> Backward<B, 3> for MixConv {
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, ConvGeometry);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, pi, bank, g) = ops.state;
        let (dx, dpi, dbank) = B::mix_conv_backward(x, pi, bank, dy, g);
        for (node, gradient) in ops.parents.into_iter().zip([dx, dpi, dbank]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct ConvTranspose;

impl<B: TrainOps> Backward<B, 2> for ConvTranspose {
    type State = (FloatTensor<B>, FloatTensor<B>, TransposedGeometry);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [to_x, to_weight] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, g) = ops.state;
        if let Some(node) = to_x {
            grads.register::<B>(node.id, B::conv_transpose_dx(weight.clone(), dy.clone(), g));
        }
        if let Some(node) = to_weight {
            grads.register::<B>(node.id, B::conv_transpose_dweight(x, weight, dy, g));
        }
    }
}

#[derive(Debug)]
struct Upsample;

impl<B: TrainOps> Backward<B, 1> for Upsample {
    /// The factor.
    type State = usize;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [node] = ops.parents;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::upsample_backward(dy, ops.state));
        }
    }
}

#[derive(Debug)]
struct NormAct;

/// x, γ, β, mean, variance, ε, activation.
type Norm<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64, NormActivation);

impl<B: TrainOps> Backward<B, 3> for NormAct {
    type State = Norm<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, scale, shift, mean, variance, eps, activation) = ops.state;
        let (dx, dscale, dshift) = B::norm_act_backward(x, scale, shift, mean, variance, dy, eps, activation);
        for (node, gradient) in ops.parents.into_iter().zip([dx, dscale, dshift]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct Pool;

impl<B: TrainOps> Backward<B, 1> for Pool {
    /// Height and width, and whether to add the gradient to the existing one.
    type State = ([usize; 2], bool);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let ([node], ([h, w], joins)) = (ops.parents, ops.state);
        let Some(node) = node else { return };
        // The gradient of a leaf must stay available to the caller, so it cannot be taken.
        let gradient = if joins && node.requirement == ops.node.requirement {
            let dx = grads.consume::<B>(&node);
            B::pool_backward_add(dx, dy)
        } else {
            B::pool_backward(dy, h, w)
        };
        grads.register::<B>(node.id, gradient);
    }
}

impl<B: TrainOps, C: CheckpointStrategy> TrainOps for Autodiff<B, C> {
    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, g: ConvGeometry) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match Conv.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x.clone(), weight.clone(), g), B::conv(x, weight, g)),
            OpsKind::UnTracked(prep) => prep.finish(B::conv(x, weight, g)),
        }
    }

    fn mix_conv(
        x: FloatTensor<Self>,
        pi: FloatTensor<Self>,
        bank: FloatTensor<Self>,
        g: ConvGeometry,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), pi.node(), bank.node()];
        let (x, pi, bank) = (x.into_primitive(), pi.into_primitive(), bank.into_primitive());
        match MixConv.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::mix_conv(x.clone(), pi.clone(), bank.clone(), g);
                prep.finish((x, pi, bank, g), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::mix_conv(x, pi, bank, g)),
        }
    }

    fn conv_transpose(x: FloatTensor<Self>, weight: FloatTensor<Self>, g: TransposedGeometry) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match ConvTranspose.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x.clone(), weight.clone(), g), B::conv_transpose(x, weight, g)),
            OpsKind::UnTracked(prep) => prep.finish(B::conv_transpose(x, weight, g)),
        }
    }

    fn upsample(x: FloatTensor<Self>, scale: usize) -> FloatTensor<Self> {
        let nodes = [x.node()];
        match Upsample.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(scale, B::upsample(x.into_primitive(), scale)),
            OpsKind::UnTracked(prep) => prep.finish(B::upsample(x.into_primitive(), scale)),
        }
    }

    fn norm_act(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f64,
        activation: NormActivation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), scale.node(), shift.node()];
        let (x, scale, shift) = (x.into_primitive(), scale.into_primitive(), shift.into_primitive());
        let (y, mean, variance) = B::norm_act(x.clone(), scale.clone(), shift.clone(), eps, activation);
        let y = match NormAct.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                prep.finish((x, scale, shift, mean.clone(), variance.clone(), eps, activation), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        };
        (y, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn pool(x: FloatTensor<Self>, joins: bool) -> FloatTensor<Self> {
        let [_, _, h, w] = x.shape().dims();
        let nodes = [x.node()];
        match Pool.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(([h, w], joins), B::pool(x.into_primitive(), joins)),
            OpsKind::UnTracked(prep) => prep.finish(B::pool(x.into_primitive(), joins)),
        }
    }
}
