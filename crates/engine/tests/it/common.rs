//! Helpers of the integration tests: seeded values, random weights, and the comparison of plan and oracle.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use dyconv_engine::{Isa, Options, Plan, Session, Storage, oracle};
use dyconv_graph::{
    Activation, AvgPool2d, Builder, Conv2d, Gate, Graph, Linear, MixConv, MixLinear, NodeId, Op, Pool2d, Router,
    Tensor, UpsampleMode, Weights,
};

/// Tolerance for f32 sums of up to a few thousand products, through a few layers, compared with f64.
pub const TOLERANCE: f64 = 1e-5;

/// Random values and weights give summands of the order of one, which may cancel. If all expected values are smaller
/// than this, errors are measured relative to this.
pub const SMALL: f64 = 0.1;

/// `n` pseudo-random values in [-1, 1), determined by the seed.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Random weights for every tensor of the graph: scaled by the fan-in, with active routers and positive variances.
pub fn weights(graph: &Graph, seed: u64) -> Weights {
    let tensor = |(i, p): (usize, dyconv_graph::Parameter)| {
        let n = p.elements();
        let mut data = values(n, seed * 1000 + i as u64);
        let mix = matches!(graph.node(p.node).op, Op::MixConv(_) | Op::MixLinear(_));
        if p.name.ends_with("running_var") {
            data.iter_mut().for_each(|v| *v = 1.0 + 0.5 * *v);
        } else if p.name.ends_with(".weight") && p.shape.len() > 1 {
            let fan_in = p.shape[1 + usize::from(mix)..].iter().product::<usize>() as f32;
            let gain = if p.name.contains("router") { 6.0 } else { 2.0 };
            data.iter_mut().for_each(|v| *v *= gain / fan_in.sqrt());
        }
        (p.name, Tensor::new(&p.shape, data))
    };
    Weights(graph.parameters().into_iter().enumerate().map(tensor).collect())
}

/// Largest difference, relative to the largest expected magnitude, which counts as at least `small`.
pub fn relative_error(found: &[f32], expected: &[f32], small: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(small, |m, v| m.max(f64::from(v.abs())));
    let difference = |(f, e): (&f32, &f32)| {
        let d = (f64::from(*f) - f64::from(*e)).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    found.iter().zip(expected).map(difference).fold(0.0, f64::max) / scale
}

/// bf16 banks round each weight to eight bits; random weights through a few layers and active routers amplify the
/// error.
pub const BF16_BANK: f64 = 0.05;

/// Int8 banks round each weight with an error of up to 1/254 of the largest of its channel; it is amplified likewise.
pub const INT8_BANK: f64 = 0.1;

/// Storages of kernel banks, with the tolerated error of the outputs.
pub const BANKS: [(Storage, f64); 3] =
    [(Storage::F32, TOLERANCE), (Storage::Bf16, BF16_BANK), (Storage::Int8, INT8_BANK)];

/// For every instruction set and bank storage, compares the output of the plan with the oracle's. With exact banks,
/// also compares every step with the oracle's node of that name; with narrow ones, every instruction set with the first
/// one, which has the same weights. Returns the output of the default plan.
#[track_caller]
pub fn check(graph: &Graph, weights: &Weights, tau: f32, input: &[f32], batch: usize) -> Vec<f32> {
    let mut nodes = BTreeMap::new();
    let expected = oracle::run_all(graph, weights, tau, input, batch, &mut |name, shape, value| {
        nodes.insert(name.to_owned(), (shape, value.to_vec()));
    })
    .unwrap();
    for (bank, tolerance) in BANKS {
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let what = format!("{} banks on {}", if bank == Storage::F32 { "exact" } else { "narrow" }, isa.name());
            let options = Options { isa: Some(isa), bank, ..Options::default() };
            let mut session = Session::new(Plan::with_options(graph, weights, tau, options).unwrap());
            let answer = session.run_all(input, batch, &mut |name, shape, value| {
                let (expected_shape, expected) = &nodes[name];
                assert_eq!(shape, *expected_shape, "{name}");
                if bank == Storage::F32 {
                    let error = relative_error(value, expected, SMALL);
                    assert!(error <= TOLERANCE, "{what}: step `{name}` is off by {error:e} of its largest value");
                }
            });
            let answer = answer.unwrap();
            let error = relative_error(&answer, &expected, SMALL);
            assert!(error <= tolerance, "{what}, {bank:?}: the answer is off by {error:e} of its largest value");
            assert_eq!(session.predict(input, batch).unwrap(), answer, "{what}: seen or not, the answer is the same");
            let error = relative_error(&answer, first.get_or_insert_with(|| answer.clone()), SMALL);
            assert!(error <= 2.0 * TOLERANCE, "{what}, {bank:?}: off by {error:e} of the first instruction set's");
        }
    }
    Session::new(Plan::new(graph, weights, tau).unwrap()).predict(input, batch).unwrap()
}

/// A network with one op after the input.
pub fn single(input: [usize; 3], op: Op) -> Graph {
    let mut b = Builder::new(input).unwrap();
    let x = b.input();
    let y = b.push("op", op, &[x]).unwrap();
    b.finish(y).unwrap()
}

/// A dynamic convolution with its router.
pub fn dynamic(input: [usize; 3], conv: Conv2d, router: &Router) -> Graph {
    let mut b = Builder::new(input).unwrap();
    let x = b.input();
    let pi = b.router("router", x, router).unwrap();
    let y = b.push("conv", Op::MixConv(MixConv { kernels: router.kernels, conv }), &[x, pi]).unwrap();
    b.finish(y).unwrap()
}

/// A small network with every op, residuals, squeeze-and-excitation, and batch norms with and without a convolution.
pub fn every_op(input: [usize; 3], gate: Gate) -> Graph {
    let mut b = Builder::new(input).unwrap();
    let conv = |c: usize, k: usize| Conv2d { padding: [k / 2, k / 2], ..Conv2d::new(c, [k, k]) };
    let router = Router { gate, ..Router::default() };
    let act = |b: &mut Builder, name: &str, f: Activation, x: NodeId| b.push(name, Op::Activation(f), &[x]).unwrap();
    let bn = |b: &mut Builder, name: &str, x: NodeId| b.push(name, Op::BatchNorm { eps: 1e-3 }, &[x]).unwrap();

    let x = b.input();
    let x = bn(&mut b, "input_bn", x);
    let x = b.push("stem", Op::Conv(Conv2d { stride: [2, 2], bias: true, ..conv(20, 3) }), &[x]).unwrap();
    let x = bn(&mut b, "stem_bn", x);
    let x = act(&mut b, "stem_act", Activation::HardSwish, x);
    let x = b.push("pool", Op::MaxPool(Pool2d { stride: [1, 2], padding: [1, 1], ..Pool2d::new(3, 1) }), &[x]).unwrap();

    let pi = b.router("expand.router", x, &router).unwrap();
    let y = b.push("expand", Op::MixConv(MixConv { kernels: 4, conv: conv(40, 1) }), &[x, pi]).unwrap();
    let y = bn(&mut b, "expand_bn", y);
    let y = act(&mut b, "expand_act", Activation::Relu6, y);
    let pi = b.router("depthwise.router", y, &router).unwrap();
    let depthwise = Conv2d { groups: 40, bias: true, ..conv(40, 5) };
    let y = b.push("depthwise", Op::MixConv(MixConv { kernels: 4, conv: depthwise }), &[y, pi]).unwrap();
    let y = bn(&mut b, "depthwise_bn", y);
    let y = act(&mut b, "depthwise_act", Activation::Relu, y);
    let s = b.push("se.pool", Op::GlobalAvgPool, &[y]).unwrap();
    let s = b.push("se.fc1", Op::Linear(Linear { out_features: 8, bias: true }), &[s]).unwrap();
    let s = act(&mut b, "se.act", Activation::Sigmoid, s);
    let s = b.push("se.fc2", Op::Linear(Linear { out_features: 40, bias: false }), &[s]).unwrap();
    let s = act(&mut b, "se.gate", Activation::HardSigmoid, s);
    let y = b.push("se.scale", Op::Scale, &[y, s]).unwrap();
    let pi = b.router("project.router", y, &router).unwrap();
    let y = b.push("project", Op::MixConv(MixConv { kernels: 4, conv: conv(20, 1) }), &[y, pi]).unwrap();
    let y = bn(&mut b, "project_bn", y);
    let x = b.push("residual", Op::Add, &[x, y]).unwrap();
    let x = bn(&mut b, "residual_bn", x);
    let x = act(&mut b, "residual_act", Activation::Relu, x);

    // Channels go apart and together: a shuffled half, and a dense block.
    let left = b.push("left", Op::Slice { start: 0, channels: 10 }, &[x]).unwrap();
    let right = b.push("right", Op::Slice { start: 10, channels: 10 }, &[x]).unwrap();
    let right = b.push("right_conv", Op::Conv(conv(10, 1)), &[right]).unwrap();
    let right = act(&mut b, "right_act", Activation::Silu, right);
    let one_sided = Conv2d { padding: [0, 1], end_padding: Some([2, 1]), groups: 10, ..Conv2d::new(10, [3, 3]) };
    let right = b.push("right_depthwise", Op::Conv(one_sided), &[right]).unwrap();
    let x = b.push("halves", Op::Concat, &[left, right]).unwrap();
    let x = b.push("shuffle", Op::ChannelShuffle { groups: 2 }, &[x]).unwrap();
    let mut dense = vec![x];
    for (i, activation) in [Activation::Gelu, Activation::Relu, Activation::Silu].into_iter().enumerate() {
        let y = match dense[..] {
            [one] => one,
            _ => b.push(&format!("dense{i}.all"), Op::Concat, &dense).unwrap(),
        };
        let y = bn(&mut b, &format!("dense{i}.bn"), y);
        let y = act(&mut b, &format!("dense{i}.act"), activation, y);
        let y = b.push(&format!("dense{i}.conv"), Op::Conv(conv(12, 1 + i / 2 * 2)), &[y]).unwrap();
        dense.push(y);
    }
    let x = b.push("dense.all", Op::Concat, &dense).unwrap();
    let x = bn(&mut b, "dense.bn", x);
    let pool = Pool2d { end_padding: Some([1, 1]), ..Pool2d::new(2, 2) };
    let x = b.push("avg_pool", Op::AvgPool(AvgPool2d { pool, count_padding: false }), &[x]).unwrap();
    let small = b.push("small", Op::LeakyRelu { slope: 0.1 }, &[x]).unwrap();
    let x = b.push("repeat", Op::Upsample { scale: 2, mode: UpsampleMode::Nearest }, &[small]).unwrap();
    let gate = act(&mut b, "repeat_gate", Activation::HardSigmoid, x);
    let x = b.push("gated", Op::Mul, &[x, gate]).unwrap();
    let flat = b.push("flat", Op::Flatten, &[small]).unwrap();
    let flat = b.push("flat_fc", Op::Linear(Linear { out_features: 6, bias: true }), &[flat]).unwrap();

    let x = b.push("head", Op::Conv(Conv2d { groups: 2, ..conv(36, 3) }), &[x]).unwrap();
    let x = b.push("drop", Op::Dropout { rate: 0.2 }, &[x]).unwrap();
    let x = b.push("gap", Op::GlobalAvgPool, &[x]).unwrap();
    let x = b.push("vectors", Op::Concat, &[x, flat]).unwrap();
    let pi = b.router("fc.router", x, &router).unwrap();
    let linear = Linear { out_features: 17, bias: true };
    let x = b.push("fc", Op::MixLinear(MixLinear { kernels: 4, linear }), &[x, pi]).unwrap();
    let x = act(&mut b, "fc_act", Activation::HardSwish, x);
    let x = b.push("drop2", Op::Dropout { rate: 0.2 }, &[x]).unwrap();
    let x = b.push("classifier", Op::Linear(Linear { out_features: 5, bias: true }), &[x]).unwrap();
    b.finish(x).unwrap()
}
