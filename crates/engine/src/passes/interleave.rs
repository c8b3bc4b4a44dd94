//! Joins a concatenation of two equal maps and the shuffling of its two groups (ShuffleNet) to one step, which interleaves
//! the channels of the maps.

use super::absorb;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn interleave(lowered: Lowered) -> Lowered {
    let channels: Vec<usize> = lowered.steps.iter().map(|step| step.shape.channels()).collect();
    let equal: Vec<bool> =
        lowered.steps.iter().map(|step| matches!(step.inputs[..], [a, b] if channels[a] == channels[b])).collect();
    // Steps are removed on the way, so a concatenation is recognized by its name.
    let pairs: std::collections::BTreeSet<String> = (lowered.steps.iter().zip(equal))
        .filter(|(step, equal)| *equal && matches!(step.op, StepOp::Concat))
        .map(|(step, _)| step.name.clone())
        .collect();
    absorb(lowered, |producer, step, sole| {
        let shuffles = matches!(step.op, StepOp::ChannelShuffle { groups: 2 });
        let joins = matches!(producer.op, StepOp::Concat) && pairs.contains(&producer.name);
        if sole && shuffles && joins {
            producer.op = StepOp::Interleave;
        }
        sole && shuffles && joins
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Activation, Builder, Op, Weights};

    #[test]
    fn two_equal_maps_are_interleaved() {
        for (channels, groups, joined) in [(2, 2, true), (1, 2, false), (2, 4, false)] {
            let mut b = Builder::new([4, 3, 3]).unwrap();
            let x = b.input();
            let a = b.push("a", Op::Slice { start: 0, channels }, &[x]).unwrap();
            let rest = b.push("rest", Op::Slice { start: channels, channels: 4 - channels }, &[x]).unwrap();
            let both = b.push("both", Op::Concat, &[a, rest]).unwrap();
            let y = b.push("shuffle", Op::ChannelShuffle { groups }, &[both]).unwrap();
            let y = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
            let lowered = interleave(Lowered::new(&b.finish(y).unwrap(), &Weights::default()).unwrap());
            let expected: &[&str] = if joined {
                &["input", "a", "rest", "shuffle", "relu"]
            } else {
                &["input", "a", "rest", "both", "shuffle", "relu"]
            };
            assert_eq!(names(&lowered), expected);
            assert_eq!(matches!(lowered.steps[3].op, StepOp::Interleave), joined);
        }
    }

    #[test]
    fn a_concatenation_with_another_reader_is_left_alone() {
        let mut b = Builder::new([4, 3, 3]).unwrap();
        let x = b.input();
        let both = b.push("both", Op::Concat, &[x, x]).unwrap();
        let y = b.push("shuffle", Op::ChannelShuffle { groups: 2 }, &[both]).unwrap();
        let y = b.push("sum", Op::Add, &[y, both]).unwrap();
        let before = Lowered::new(&b.finish(y).unwrap(), &Weights::default()).unwrap();
        assert_eq!(names(&interleave(before.clone())), names(&before));
    }
}
