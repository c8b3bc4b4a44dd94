//! Computes the global average pool of the output of a convolution or an upsampling from the partial sums that it
//! writes.

use crate::lowered::{Lowered, StepOp};

pub(crate) fn fuse_mean(mut lowered: Lowered) -> Lowered {
    for i in 0..lowered.steps.len() {
        let (StepOp::GlobalAvgPool, &[from]) = (&lowered.steps[i].op, &lowered.steps[i].inputs[..]) else { continue };
        let channels = lowered.steps[from].inputs.first().map_or(0, |x| lowered.steps[*x].shape.channels());
        let producer = &mut lowered.steps[from];
        let leaves = match &producer.op {
            StepOp::Conv(layer) => {
                let depthwise = layer.spec.groups == channels && layer.spec.out_channels == channels;
                layer.spec.groups == 1 || depthwise
            }
            StepOp::Upsample { .. } => true,
            _ => false,
        };
        if producer.shape.pixels() > 1 && leaves {
            producer.sums = true;
            lowered.steps[i].op = StepOp::Mean;
        }
    }
    lowered
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_graph::{Builder, Conv2d, Init, Op, init};

    #[test]
    fn convolutions_leave_sums_unless_they_are_grouped() {
        for (groups, fused) in [(1, true), (2, false), (4, true)] {
            let mut b = Builder::new([4, 3, 3]).unwrap();
            let x = b.input();
            let y = b.push("y", Op::Conv(Conv2d { groups, ..Conv2d::new(4, [1, 1]) }), &[x]).unwrap();
            let pool = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
            let graph = b.finish(pool).unwrap();
            let lowered = fuse_mean(Lowered::new(&graph, &init(&graph, Init::default())).unwrap());
            assert_eq!(lowered.steps[1].sums, fused, "{groups} groups");
            assert_eq!(matches!(lowered.steps[2].op, StepOp::Mean), fused, "{groups} groups");
        }
    }
}
