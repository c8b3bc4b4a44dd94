//! The patterns that exporters leave, each in a model made by hand.

use dyconv_engine::oracle;
use dyconv_graph::Op;

use crate::models::{Model, float, int, ints, text};
use crate::networks::noise;

fn model() -> Model {
    Model::new([0, 4, 6, 6])
}

#[test]
fn activations_in_their_parts() {
    let sigmoid = model().node("Sigmoid", "x", "s", &[]);
    assert_eq!(sigmoid.node("Mul", "s x", "y", &[]).ops(), "silu");
    let slope = [float("alpha", 1.0 / 6.0), float("beta", 0.5)];
    let hard = model().node("HardSigmoid", "x", "s", &slope);
    assert_eq!(hard.node("Mul", "x s", "y", &[]).ops(), "hard_swish");
    let numbers = |m: Model| m.floats("three", &[], &[3.0]).floats("zero", &[], &[0.0]).floats("six", &[], &[6.0]);
    let clipped = || numbers(model()).node("Add", "x three", "a", &[]).node("Clip", "a zero six", "c", &[]);
    assert_eq!(clipped().node("Div", "c six", "y", &[]).ops(), "hard_sigmoid");
    assert_eq!(clipped().node("Mul", "x c", "m", &[]).node("Div", "m six", "y", &[]).ops(), "hard_swish");
    assert_eq!(clipped().node("Div", "c six", "d", &[]).node("Mul", "x d", "y", &[]).ops(), "hard_swish");
    let roots = |m: Model| m.floats("r", &[], &[2f32.sqrt()]).floats("one", &[], &[1.0]).floats("half", &[], &[0.5]);
    let erf = || roots(model()).node("Div", "x r", "d", &[]).node("Erf", "d", "e", &[]).node("Add", "e one", "p", &[]);
    assert_eq!(erf().node("Mul", "x p", "m", &[]).node("Mul", "m half", "y", &[]).ops(), "gelu");
    assert_eq!(erf().node("Mul", "x half", "m", &[]).node("Mul", "m p", "y", &[]).ops(), "gelu");
    assert_eq!(numbers(model()).node("Clip", "x zero six", "y", &[]).ops(), "relu6");
    assert_eq!(numbers(model()).node("Clip", "x zero -", "y", &[]).ops(), "relu");
    let error = numbers(model()).node("Clip", "x zero three", "y", &[]).error();
    assert!(error.contains("clips to [0, 3]; only [0, 6] and [0, ∞) are read"), "{error}");
    let error = model().node("Tanh", "x", "y", &[]).error();
    assert!(error.contains("tanh form"), "{error}");
}

#[test]
fn channels_are_shuffled_cut_and_joined() {
    let shuffled = model()
        .ints("matrix", &[0, 2, 2, 6, 6])
        .ints("map", &[0, -1, 6, 6])
        .node("Reshape", "x matrix", "a", &[])
        .node("Transpose", "a", "b", &[ints("perm", &[0, 2, 1, 3, 4])])
        .node("Reshape", "b map", "c", &[])
        .node("MaxPool", "c", "y", &[ints("kernel_shape", &[2, 2])]);
    assert_eq!(shuffled.ops(), "channel_shuffle max_pool");
    let imported = shuffled.read().unwrap();
    assert_eq!(imported.graph.nodes()[1].op, Op::ChannelShuffle { groups: 2 });
    let split = model().node("Split", "x", "a b", &[int("axis", 1)]).node("Concat", "b a", "y", &[int("axis", 1)]);
    assert_eq!(split.ops(), "slice slice concat");
    let se = model()
        .node("GlobalAveragePool", "x", "p", &[])
        .floats("w.weight", &[4, 4, 1, 1], &noise(1, 16))
        .node("Conv", "p w.weight", "c", &[])
        .node("Sigmoid", "c", "s", &[])
        .node("Mul", "x s", "y", &[]);
    assert_eq!(se.ops(), "global_avg_pool linear sigmoid scale");
    assert_eq!(se.read().unwrap().graph.nodes()[2].name, "w");
}

#[test]
fn borders_and_constants_are_merged() {
    let conv = |m: Model| m.floats("c.weight", &[2, 4, 3, 3], &noise(2, 72)).node("Conv", "p c.weight", "y", &[]);
    let padded = conv(model().ints("pads", &[0, 0, 0, 1, 0, 0, 1, 2]).node("Pad", "x pads", "p", &[]));
    let imported = padded.read().unwrap();
    let Op::Conv(spec) = &imported.graph.nodes()[1].op else { panic!("{:?}", imported.graph.nodes()) };
    assert_eq!((spec.padding, spec.end_padding), ([0, 1], Some([1, 2])));
    // What a network does to its input stays where zeros are added after it.
    let normalized = model().floats("mean", &[1, 4, 1, 1], &[0.1, 0.2, 0.3, 0.4]).node("Sub", "x mean", "n", &[]);
    let weights = normalized.floats("c.weight", &[2, 4, 3, 3], &noise(2, 72));
    let plain = [ints("pads", &[0, 0, 0, 0])];
    assert_eq!(weights.node("Conv", "n c.weight", "y", &plain).ops(), "conv");
    let normalized = model().floats("mean", &[1, 4, 1, 1], &[0.1, 0.2, 0.3, 0.4]).node("Sub", "x mean", "n", &[]);
    let weights = normalized.floats("c.weight", &[2, 4, 3, 3], &noise(2, 72));
    let same = [text("auto_pad", "SAME_UPPER")];
    assert_eq!(weights.node("Conv", "n c.weight", "y", &same).ops(), "batch_norm conv");
}

#[test]
fn ceil_mode_is_padding_at_the_end() {
    let pool = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
    let model = model().node("MaxPool", "x", "y", &pool);
    let imported = model.read().unwrap();
    let Op::MaxPool(pool) = &imported.graph.nodes()[1].op else { panic!() };
    assert_eq!((pool.padding, pool.end_padding), ([0, 0], Some([1, 1])));
    assert_eq!(imported.graph.output_shape().dims(), [4, 3, 3]);
}

#[test]
fn the_head_of_a_classifier() {
    let head = model()
        .node("ReduceMean", "x", "p", &[ints("axes", &[2, 3]), int("keepdims", 0)])
        .floats("fc.weight", &[5, 4], &noise(3, 20))
        .floats("fc.bias", &[5], &noise(4, 5))
        .node("Gemm", "p fc.weight fc.bias", "z", &[int("transB", 1)])
        .node("Softmax", "z", "y", &[int("axis", 1)]);
    assert_eq!(head.ops(), "global_avg_pool linear");
    let imported = head.read().unwrap();
    assert_eq!(imported.tau, 1.0);
    assert!(imported.report.notes[0].contains("softmax at the end"), "{:?}", imported.report);
    let flat = model()
        .node("Flatten", "x", "f", &[])
        .floats("w", &[144, 3], &noise(5, 432))
        .floats("b", &[3], &[1.0, 2.0, 3.0])
        .node("MatMul", "f w", "m", &[])
        .node("Add", "m b", "y", &[]);
    assert_eq!(flat.ops(), "flatten linear");
    let imported = flat.read().unwrap();
    let x = noise(6, 2 * 144);
    let answer = oracle::run(&imported.graph, &imported.weights, 1.0, &x, 2).unwrap();
    let w = noise(5, 432);
    for (n, answer) in answer.chunks(3).enumerate() {
        for o in 0..3 {
            let sum: f32 = (0..144).map(|i| x[n * 144 + i] * w[i * 3 + o]).sum::<f32>() + (o + 1) as f32;
            assert!((sum - answer[o]).abs() < 1e-4, "{sum} {}", answer[o]);
        }
    }
}

/// Σ_k π_k·W_k for one sample, and with the batch in the groups: for three samples both give what the parts give.
#[test]
fn mixed_kernels_are_dynamic_convolutions() {
    let router = |m: Model| {
        m.node("GlobalAveragePool", "x", "g", &[])
            .node("Flatten", "g", "f", &[])
            .floats("r.weight", &[3, 4], &noise(7, 12))
            .node("Gemm", "f r.weight", "z", &[int("transB", 1)])
            .floats("tau", &[], &[2.0])
            .node("Div", "z tau", "d", &[])
            .node("Softmax", "d", "pi", &[int("axis", 1)])
    };
    let one = router(Model::new([1, 4, 6, 6]))
        .floats("bank.weight", &[3, 72], &noise(8, 216))
        .node("MatMul", "pi bank.weight", "m", &[])
        .ints("kernel", &[2, 4, 3, 3])
        .node("Reshape", "m kernel", "w", &[])
        .node("Conv", "x w", "y", &[ints("pads", &[1, 1, 1, 1])]);
    let two = router(Model::new([2, 4, 6, 6]))
        .floats("bank.weight", &[1, 3, 2, 4, 3, 3], &noise(8, 216))
        .ints("attention", &[2, 3, 1, 1, 1, 1])
        .node("Reshape", "pi attention", "a", &[])
        .node("Mul", "a bank.weight", "p", &[])
        .ints("axis", &[1])
        .node("ReduceSum", "p axis", "m", &[int("keepdims", 0)])
        .ints("kernel", &[4, 4, 3, 3])
        .node("Reshape", "m kernel", "w", &[])
        .ints("hidden", &[1, 8, 6, 6])
        .node("Reshape", "x hidden", "h", &[])
        .node("Conv", "h w", "c", &[ints("pads", &[1, 1, 1, 1]), int("group", 2)])
        .ints("map", &[2, 2, 6, 6])
        .node("Reshape", "c map", "y", &[]);
    let (one, two) = (one.read().unwrap(), two.read().unwrap());
    for imported in [&one, &two] {
        assert_eq!(imported.graph.dynamic_layers(), 1);
        assert_eq!(imported.tau, 2.0);
        let layer = &imported.report.dynamic[0];
        assert_eq!((layer.name.as_str(), layer.kernels, layer.convolution), ("bank", 3, true));
    }
    let x = noise(9, 3 * 144);
    let run = |i: &dyconv_onnx::Imported| oracle::run(&i.graph, &i.weights, i.tau, &x, 3).unwrap();
    assert_eq!(run(&one), run(&two));
}
