//! Fuses channel factors (squeeze-and-excitation) into the kernel of the convolution that reads the scaled map. A pool
//! of the scaled map becomes the scaled pool: mean(f·x) = f·mean(x). The map itself is never scaled.

use super::remove;
use crate::convert::pads_nothing;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn fuse_scale(mut lowered: Lowered) -> Lowered {
    let mut gone = vec![None; lowered.steps.len()];
    for (i, gone) in gone.iter_mut().enumerate() {
        let (StepOp::Scale { activation: None }, &[x, factors]) = (&lowered.steps[i].op, &lowered.steps[i].inputs[..])
        else {
            continue;
        };
        let readers: Vec<usize> =
            (i + 1..lowered.steps.len()).filter(|r| lowered.steps[*r].inputs.contains(&i)).collect();
        let pool_of_x = |before: usize| {
            (0..before)
                .find(|p| matches!(lowered.steps[*p].op, StepOp::GlobalAvgPool) && lowered.steps[*p].inputs == [x])
        };
        let takes = |r: &usize| match &lowered.steps[*r].op {
            StepOp::Conv(layer) => {
                let only_worked_on = lowered.steps[*r].inputs.iter().filter(|j| **j == i).count() == 1;
                let plain = layer.spec.groups == 1 && pads_nothing(&layer.spec) && !layer.scaled;
                plain && only_worked_on && lowered.steps[*r].inputs[0] == i && lowered.steps[i].shape.pixels() > 1
            }
            StepOp::GlobalAvgPool => pool_of_x(*r).is_some(),
            _ => false,
        };
        if lowered.output == i || readers.is_empty() || !readers.iter().all(takes) {
            continue;
        }
        for r in readers {
            if let StepOp::GlobalAvgPool = lowered.steps[r].op {
                let pool = (0..r)
                    .find(|p| matches!(lowered.steps[*p].op, StepOp::GlobalAvgPool) && lowered.steps[*p].inputs == [x]);
                lowered.steps[r].inputs = vec![pool.expect("found above"), factors];
                lowered.steps[r].op = StepOp::Scale { activation: None };
            } else if let StepOp::Conv(layer) = &mut lowered.steps[r].op {
                layer.scaled = true;
                let at = 1 + usize::from(layer.mixes);
                lowered.steps[r].inputs[0] = x;
                lowered.steps[r].inputs.insert(at, factors);
            }
        }
        *gone = Some(x);
    }
    remove(lowered, &gone)
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Builder, Conv2d, Graph, Init, MixConv, Op, Router, init};

    /// A map scaled by its own mean, then a dynamic convolution. With padding the factors cannot be fused.
    fn network(padding: usize) -> Graph {
        let mut b = Builder::new([4, 3, 3]).unwrap();
        let x = b.input();
        let mean = b.push("mean", Op::GlobalAvgPool, &[x]).unwrap();
        let scaled = b.push("scaled", Op::Scale, &[x, mean]).unwrap();
        let pi = b.router("router", scaled, &Router::default()).unwrap();
        let conv = Conv2d { padding: [padding; 2], ..Conv2d::new(4, [1, 1]) };
        let y = b.push("y", Op::MixConv(MixConv { kernels: 4, conv }), &[scaled, pi]).unwrap();
        b.finish(y).unwrap()
    }

    #[test]
    fn the_factors_move_into_the_kernel_and_behind_the_pool() {
        let graph = network(0);
        let lowered = fuse_scale(Lowered::new(&graph, &init(&graph, Init::default())).unwrap());
        assert!(!names(&lowered).contains(&"scaled"));
        let end = lowered.steps.last().unwrap();
        assert_eq!((end.inputs[0], end.inputs[2]), (0, 1), "the input itself, and its mean as factors");
        assert!(matches!(&end.op, StepOp::Conv(layer) if layer.scaled));
        let pool = &lowered.steps[2];
        assert!(pool.name == "router.pool" && matches!(pool.op, StepOp::Scale { .. }) && pool.inputs == [1, 1]);
    }

    #[test]
    fn a_reader_that_cannot_take_them_keeps_the_scaled_map() {
        let graph = network(1);
        let before = Lowered::new(&graph, &init(&graph, Init::default())).unwrap();
        assert_eq!(names(&fuse_scale(before.clone())), names(&before));
    }
}
