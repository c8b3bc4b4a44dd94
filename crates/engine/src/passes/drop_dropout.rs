//! Removes dropout, which is the identity in evaluation.

use super::absorb;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn drop_dropout(lowered: Lowered) -> Lowered {
    absorb(lowered, |_, step, _| matches!(step.op, StepOp::Dropout))
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;
    use dyconv_graph::{Activation, Builder, Op, Weights};

    #[test]
    fn readers_read_what_dropout_read() {
        let mut b = Builder::new([2, 3, 3]).unwrap();
        let x = b.input();
        let relu = b.push("relu", Op::Activation(Activation::Relu), &[x]).unwrap();
        let one = b.push("drop1", Op::Dropout { rate: 0.5 }, &[relu]).unwrap();
        let two = b.push("drop2", Op::Dropout { rate: 0.5 }, &[one]).unwrap();
        let sum = b.push("sum", Op::Add, &[relu, two]).unwrap();
        let end = b.push("end", Op::Dropout { rate: 0.1 }, &[sum]).unwrap();
        let lowered = drop_dropout(Lowered::new(&b.finish(end).unwrap(), &Weights::default()).unwrap());
        assert_eq!(names(&lowered), ["input", "relu", "end"]);
        assert_eq!(lowered.steps[2].inputs, [1, 1]);
        assert_eq!(lowered.output, 2);
    }
}
