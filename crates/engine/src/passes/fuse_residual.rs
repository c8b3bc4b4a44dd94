//! Fuses a sum whose later summand is a convolution into the end of that convolution, so its map is written once.

use super::remove;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn fuse_residual(mut lowered: Lowered) -> Lowered {
    let uses = lowered.uses();
    let mut gone = vec![None; lowered.steps.len()];
    for i in 0..lowered.steps.len() {
        let (StepOp::Add { activation }, &[a, b]) = (&lowered.steps[i].op, &lowered.steps[i].inputs[..]) else {
            continue;
        };
        let activation = *activation;
        // A summand that was itself a sum has been fused into its convolution.
        let [a, b] = [a, b].map(|j| gone[j].unwrap_or(j));
        let (early, late) = (a.min(b), a.max(b));
        if uses[late] != 1 || early == late {
            continue;
        }
        let name = lowered.steps[i].name.clone();
        let step = &mut lowered.steps[late];
        let StepOp::Conv(layer) = &mut step.op else { continue };
        if layer.activation.is_some() || layer.residual {
            continue;
        }
        layer.residual = true;
        layer.activation = activation;
        step.inputs.push(early);
        step.name = name;
        gone[i] = Some(late);
    }
    remove(lowered, &gone)
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Activation, Builder, Conv2d, Init, Op, init};

    #[test]
    fn the_later_summand_takes_the_sum() {
        let mut b = Builder::new([4, 3, 3]).unwrap();
        let x = b.input();
        let conv = || Op::Conv(Conv2d::new(4, [1, 1]));
        let y = b.push("y", conv(), &[x]).unwrap();
        let short = b.push("short", conv(), &[x]).unwrap();
        let sum = b.push("sum", Op::Add, &[y, short]).unwrap();
        let relu = b.push("relu", Op::Activation(Activation::Relu), &[sum]).unwrap();
        let z = b.push("z", conv(), &[relu]).unwrap();
        let end = b.push("end", Op::Add, &[relu, z]).unwrap();
        let graph = b.finish(end).unwrap();
        let lowered =
            fuse_residual(super::super::fuse_activation(Lowered::new(&graph, &init(&graph, Init::default())).unwrap()));
        assert_eq!(names(&lowered), ["input", "y", "relu", "end"]);
        assert_eq!(lowered.steps[2].inputs, [0, 1]);
        assert_eq!(lowered.steps[3].inputs, [2, 2]);
        let StepOp::Conv(layer) = &lowered.steps[2].op else { panic!("a convolution") };
        assert!(layer.residual && layer.activation == Some(Activation::Relu));
    }

    #[test]
    fn a_summand_with_another_reader_or_an_activation_is_left_alone() {
        let mut b = Builder::new([4, 3, 3]).unwrap();
        let x = b.input();
        let y = b.push("y", Op::Conv(Conv2d::new(4, [1, 1])), &[x]).unwrap();
        let sum = b.push("sum", Op::Add, &[x, y]).unwrap();
        let again = b.push("again", Op::Add, &[sum, y]).unwrap();
        let z = b.push("z", Op::Conv(Conv2d::new(4, [1, 1])), &[again]).unwrap();
        let z = b.push("relu", Op::Activation(Activation::Relu), &[z]).unwrap();
        let end = b.push("end", Op::Add, &[again, z]).unwrap();
        let graph = b.finish(end).unwrap();
        let before = super::super::fuse_activation(Lowered::new(&graph, &init(&graph, Init::default())).unwrap());
        assert_eq!(names(&fuse_residual(before.clone())), names(&before));
    }
}
