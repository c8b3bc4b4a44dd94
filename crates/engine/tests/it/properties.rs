//! Plan against oracle for odd sizes, and properties of every dynamic layer.

use crate::common::{check, dynamic, single, values, weights};
use dyconv_engine::{Plan, Session};
use dyconv_graph::{Conv2d, Gate, Graph, Op, Pool2d, Router, Tensor, Weights};
use proptest::prelude::*;

prop_compose! {
    /// An input and a convolution that fits into it.
    fn convolution()(
        size in [1usize..12, 1usize..12], kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..4, 0usize..4], dilation in [1usize..3, 1usize..3], bias in any::<bool>(),
        layout in 0usize..4, groups in 1usize..5, cin in 1usize..36, cout in 1usize..40,
    ) -> ([usize; 3], Conv2d) {
        let mut kernel = kernel;
        for axis in 0..2 {
            while dilation[axis] * (kernel[axis] - 1) + 1 > size[axis] + 2 * padding[axis] {
                kernel[axis] -= 1;
            }
        }
        let (cin, out_channels, groups) = match layout {
            0 => (cin, cout, 1),
            1 => (cin, cin, cin),
            2 => (cin, cin * 2, cin),
            _ => (cin.div_ceil(4) * groups, cout.div_ceil(4) * groups, groups),
        };
        ([cin, size[0], size[1]], Conv2d { out_channels, kernel, stride, padding, dilation, groups, bias })
    }
}

fn sample(graph: &Graph, batch: usize, seed: u64) -> Vec<f32> {
    values(batch * graph.input_dims().iter().product::<usize>(), seed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn static_convolutions((input, conv) in convolution(), seed in 0u64..100) {
        let graph = single(input, Op::Conv(conv));
        check(&graph, &weights(&graph, seed), 1.0, &sample(&graph, 1, seed), 1);
    }

    #[test]
    fn dynamic_convolutions(
        (input, conv) in convolution(), kernels in 1usize..9, sigmoid in any::<bool>(), tau in 0.5f32..30.0, seed in 0u64..100,
    ) {
        let gate = if sigmoid { Gate::Sigmoid } else { Gate::Softmax };
        let graph = dynamic(input, conv, &Router { kernels, gate, ..Router::default() });
        check(&graph, &weights(&graph, seed), tau, &sample(&graph, 2, seed), 2);
    }

    #[test]
    fn max_pools(h in 1usize..9, w in 1usize..9, c in 1usize..20, k in 1usize..4, s in 1usize..4) {
        let k = k.min(h).min(w);
        let graph = single([c, h, w], Op::MaxPool(Pool2d { padding: [k / 2, k / 2], ..Pool2d::new(k, s) }));
        check(&graph, &Weights::default(), 1.0, &sample(&graph, 1, 3), 1);
    }

    /// With equal kernels and coefficients that sum to one, the attention has no effect.
    #[test]
    fn equal_kernels_make_the_attention_irrelevant((input, conv) in convolution(), kernels in 2usize..6, seed in 0u64..100) {
        let graph = dynamic(input, conv, &Router { kernels, ..Router::default() });
        let mut w = weights(&graph, seed);
        for (name, tensor) in &mut w.0 {
            if name.starts_with("conv.") {
                let len = tensor.data.len() / kernels;
                let first = tensor.data[..len].to_vec();
                tensor.data.chunks_exact_mut(len).for_each(|kernel| kernel.copy_from_slice(&first));
            }
        }
        let x = sample(&graph, 1, seed);
        let sharp = check(&graph, &w, 0.1, &x, 1);
        let flat = check(&graph, &w, 30.0, &x, 1);
        prop_assert!(crate::common::relative_error(&sharp, &flat, crate::common::SMALL) <= crate::common::TOLERANCE);
    }

    /// A softmax over one score is 1: the layer is its static twin, bit for bit.
    #[test]
    fn one_kernel_is_the_static_twin((input, conv) in convolution(), seed in 0u64..100) {
        let graph = dynamic(input, conv.clone(), &Router { kernels: 1, ..Router::default() });
        let w = weights(&graph, seed);
        let twin = single(input, Op::Conv(conv));
        let part = |name: &str| w.0.get(&format!("conv.{name}")).map(|t| (format!("op.{name}"), Tensor::new(&t.shape[1..], t.data.clone())));
        let twin_weights = Weights(["weight", "bias"].into_iter().filter_map(part).collect());
        let x = sample(&graph, 1, seed);
        let predict = |g: &Graph, w: &Weights| Session::new(Plan::new(g, w, 3.0).unwrap()).predict(&x, 1).unwrap();
        prop_assert_eq!(predict(&graph, &w), predict(&twin, &twin_weights));
    }

    /// A batch of three equals three single runs, bit for bit, whatever ran before.
    #[test]
    fn samples_of_a_batch_are_independent((input, conv) in convolution(), seed in 0u64..100) {
        let graph = dynamic(input, conv, &Router::default());
        let w = weights(&graph, seed);
        let mut session = Session::new(Plan::new(&graph, &w, 1.0).unwrap());
        let x = sample(&graph, 3, seed);
        let together = session.predict(&x, 3).unwrap();
        let alone: Vec<f32> = x.chunks(x.len() / 3).rev().map(|x| session.predict(x, 1).unwrap()).rev().flatten().collect();
        prop_assert_eq!(together, alone);
    }
}
