//! Fuses an activation into the step before it, if that step can end with one.

use super::absorb;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn fuse_activation(lowered: Lowered) -> Lowered {
    absorb(lowered, |producer, step, sole| {
        let StepOp::Activation(function) = step.op else { return false };
        let slot = match &mut producer.op {
            StepOp::Conv(layer) => &mut layer.activation,
            StepOp::ConvTranspose(layer) => &mut layer.activation,
            StepOp::Linear(layer) => &mut layer.activation,
            StepOp::Affine { activation, .. }
            | StepOp::Add { activation }
            | StepOp::Scale { activation }
            | StepOp::Mul { activation }
            | StepOp::Upsample { activation, .. } => activation,
            StepOp::Input
            | StepOp::Activation(_)
            | StepOp::Softmax
            | StepOp::GlobalAvgPool
            | StepOp::Mean
            | StepOp::MaxPool(_)
            | StepOp::AvgPool(_)
            | StepOp::LeakyRelu { .. }
            | StepOp::Concat
            | StepOp::Slice { .. }
            | StepOp::Flatten
            | StepOp::ChannelShuffle { .. }
            | StepOp::Interleave
            | StepOp::Dropout => return false,
        };
        if !sole || slot.is_some() {
            return false;
        }
        *slot = Some(function);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Activation, Builder, Op, Weights};

    #[test]
    fn one_activation_moves_and_the_next_stays() {
        let mut b = Builder::new([2, 3, 3]).unwrap();
        let x = b.input();
        let sum = b.push("sum", Op::Add, &[x, x]).unwrap();
        let relu = b.push("relu", Op::Activation(Activation::Relu), &[sum]).unwrap();
        let swish = b.push("swish", Op::Activation(Activation::HardSwish), &[relu]).unwrap();
        let graph = b.finish(swish).unwrap();
        let lowered = fuse_activation(Lowered::new(&graph, &Weights::default()).unwrap());
        assert_eq!(names(&lowered), ["input", "relu", "swish"]);
        assert!(matches!(lowered.steps[1].op, StepOp::Add { activation: Some(Activation::Relu) }));
    }

    #[test]
    fn a_value_with_two_readers_is_left_alone() {
        let mut b = Builder::new([2, 3, 3]).unwrap();
        let x = b.input();
        let sum = b.push("sum", Op::Add, &[x, x]).unwrap();
        let relu = b.push("relu", Op::Activation(Activation::Relu), &[sum]).unwrap();
        let end = b.push("end", Op::Add, &[sum, relu]).unwrap();
        let graph = b.finish(end).unwrap();
        let lowered = fuse_activation(Lowered::new(&graph, &Weights::default()).unwrap());
        assert_eq!(names(&lowered), ["input", "sum", "relu", "end"]);
    }
}
