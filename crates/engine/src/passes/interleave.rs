//! Joins a concatenation of two equal maps and the shuffling of its two groups (ShuffleNet) to one step, which interleaves
//! the channels of the maps.

use super::remove;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn interleave(mut lowered: Lowered) -> Lowered {
    let uses = lowered.uses();
    let mut gone = vec![None; lowered.steps.len()];
    for i in 0..lowered.steps.len() {
        let (StepOp::ChannelShuffle { groups: 2 }, &[joined]) = (&lowered.steps[i].op, &lowered.steps[i].inputs[..])
        else {
            continue;
        };
        let (StepOp::Concat, &[a, b]) = (&lowered.steps[joined].op, &lowered.steps[joined].inputs[..]) else {
            continue;
        };
        let channels = |step: usize| lowered.steps[step].shape.channels();
        if uses[joined] == 1 && channels(a) == channels(b) {
            lowered.steps[i].op = StepOp::Interleave;
            lowered.steps[i].inputs = vec![a, b];
            gone[joined] = Some(a);
        }
    }
    remove(lowered, &gone)
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
