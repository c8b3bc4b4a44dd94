//! Lets linear layers read a map as if it were flattened: the columns of their weights are reordered when they are
//! packed, so the map itself is not.

use super::remove;
use crate::lowered::{Lowered, StepOp};

pub(crate) fn flatten_in_linear(mut lowered: Lowered) -> Lowered {
    let mut gone = vec![None; lowered.steps.len()];
    for (i, gone) in gone.iter_mut().enumerate() {
        let (StepOp::Flatten, &[x]) = (&lowered.steps[i].op, &lowered.steps[i].inputs[..]) else { continue };
        let map = lowered.steps[x].shape;
        let readers: Vec<usize> =
            (i + 1..lowered.steps.len()).filter(|r| lowered.steps[*r].inputs.contains(&i)).collect();
        let takes = |r: &usize| {
            let reads = &lowered.steps[*r].inputs;
            matches!(lowered.steps[*r].op, StepOp::Linear(_)) && reads[0] == i && !reads[1..].contains(&i)
        };
        if lowered.output == i || readers.is_empty() || !readers.iter().all(takes) {
            continue;
        }
        for r in readers {
            if let StepOp::Linear(layer) = &mut lowered.steps[r].op {
                layer.flattens = Some([map.channels(), map.pixels()]);
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
    use dyconv_graph::{Activation, Builder, Graph, Init, Linear, Op, init};

    fn network(read_twice: bool) -> Graph {
        let mut b = Builder::new([2, 3, 2]).unwrap();
        let x = b.input();
        let flat = b.push("flat", Op::Flatten, &[x]).unwrap();
        let mut y = b.push("fc", Op::Linear(Linear { out_features: 12, bias: false }), &[flat]).unwrap();
        if read_twice {
            y = b.push("sum", Op::Add, &[y, flat]).unwrap();
        }
        let y = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
        b.finish(y).unwrap()
    }

    #[test]
    fn the_columns_are_in_the_order_of_the_map() {
        let graph = network(false);
        let weights = init(&graph, Init::default());
        let mut lowered = flatten_in_linear(Lowered::new(&graph, &weights).unwrap());
        assert_eq!(names(&lowered), ["input", "fc", "relu"]);
        lowered.steps[1].load(&weights, &mut Vec::new()).unwrap();
        let StepOp::Linear(layer) = &lowered.steps[1].op else { panic!("a linear layer") };
        let before = &weights.get("fc.weight").data;
        assert_eq!(layer.weight[12..16], [before[12], before[18], before[13], before[19]]);
    }

    #[test]
    fn a_vector_that_is_read_otherwise_is_computed() {
        let graph = network(true);
        let before = Lowered::new(&graph, &init(&graph, Init::default())).unwrap();
        assert_eq!(names(&flatten_in_linear(before.clone())), names(&before));
    }
}
