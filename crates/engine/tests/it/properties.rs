//! Plan against oracle for odd sizes, and properties of every dynamic layer.

use crate::common::{check, dynamic, single, values, weights};
use dyconv_engine::{Plan, Session};
use dyconv_graph::{Activation, AvgPool2d, Builder, Conv2d, Gate, Graph, Op, Pool2d, Router, Tensor, Weights};
use proptest::prelude::*;

prop_compose! {
    /// An input and a convolution that fits into it.
    fn convolution()(
        size in [1usize..12, 1usize..12], kernel in [1usize..6, 1usize..6], stride in [1usize..4, 1usize..4],
        padding in [0usize..4, 0usize..4], end in [0usize..4, 0usize..4], dilation in [1usize..3, 1usize..3], bias in any::<bool>(),
        layout in 0usize..4, groups in 1usize..5, cin in 1usize..36, cout in 1usize..40,
    ) -> ([usize; 3], Conv2d) {
        let mut kernel = kernel;
        for axis in 0..2 {
            while dilation[axis] * (kernel[axis] - 1) + 1 > size[axis] + padding[axis] + end[axis] {
                kernel[axis] -= 1;
            }
        }
        let (cin, out_channels, groups) = match layout {
            0 => (cin, cout, 1),
            1 => (cin, cin, cin),
            2 => (cin, cin * 2, cin),
            _ => (cin.div_ceil(4) * groups, cout.div_ceil(4) * groups, groups),
        };
        let end_padding = Some(end);
        ([cin, size[0], size[1]], Conv2d { out_channels, kernel, stride, padding, end_padding, dilation, groups, bias })
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
    fn pools(
        size in [1usize..9, 1usize..9], c in 1usize..20, kernel in [1usize..4, 1usize..4], s in 1usize..4,
        padding in [0usize..3, 0usize..3], end in [0usize..3, 0usize..3], which in 0usize..3,
    ) {
        let kernel = [kernel[0].min(size[0]), kernel[1].min(size[1])];
        let within = |p: [usize; 2]| [p[0].min(kernel[0] - 1), p[1].min(kernel[1] - 1)];
        let pool = Pool2d { kernel, stride: [s, s], padding: within(padding), end_padding: Some(within(end)) };
        let op = match which {
            0 => Op::MaxPool(pool),
            _ => Op::AvgPool(AvgPool2d { pool, count_padding: which == 1 }),
        };
        let graph = single([c, size[0], size[1]], op);
        check(&graph, &Weights::default(), 1.0, &sample(&graph, 1, 3), 1);
    }

    /// Parts of a map, some of them computed, behind each other and shuffled: concatenations of concatenations, of slices,
    /// of one value twice, and of values that are read otherwise.
    #[test]
    fn channels_move(
        size in [1usize..6, 1usize..6], c in 2usize..40, at in 1usize..39, widths in [1usize..40, 1usize..40],
        kernel in 0usize..2, again in any::<bool>(), groups in 1usize..4, seed in 0u64..100,
    ) {
        let at = at.min(c - 1);
        let mut b = Builder::new([c, size[0], size[1]]).unwrap();
        let x = b.input();
        let conv = |o: usize| Op::Conv(Conv2d { padding: [kernel; 2], ..Conv2d::new(o, [2 * kernel + 1; 2]) });
        let first = b.push("first", Op::Slice { start: 0, channels: at }, &[x]).unwrap();
        let second = b.push("second", Op::Slice { start: at, channels: c - at }, &[x]).unwrap();
        let y = b.push("y", conv(widths[0]), &[second]).unwrap();
        let y = b.push("silu", Op::Activation(Activation::Silu), &[y]).unwrap();
        let inner = b.push("inner", Op::Concat, &[first, y]).unwrap();
        let z = b.push("z", conv(widths[1]), &[inner]).unwrap();
        let z = b.push("leaky", Op::LeakyRelu { slope: 0.1 }, &[z]).unwrap();
        let outer = b.push("outer", Op::Concat, &[inner, z, if again { z } else { x }]).unwrap();
        let normed = b.push("bn", Op::BatchNorm { eps: 1e-3 }, &[outer]).unwrap();
        let w = b.push("w", conv(groups * 5), &[normed]).unwrap();
        let w = b.push("gelu", Op::Activation(Activation::Gelu), &[w]).unwrap();
        let w = b.push("shuffled", Op::ChannelShuffle { groups }, &[w]).unwrap();
        let last = b.push("last", Op::Concat, &[first, y, z, w]).unwrap();
        let square = b.push("square", Op::Mul, &[last, last]).unwrap();
        let graph = b.finish(square).unwrap();
        check(&graph, &weights(&graph, seed), 1.0, &sample(&graph, 2, seed), 2);
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
