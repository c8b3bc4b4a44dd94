//! Model files, graphs as JSON, generated networks, and many sessions at once.

use std::sync::Arc;

use arbitrary::Unstructured;
use dyconv::engine::{Plan, Pool, Precision, Session};
use dyconv::file::Model;
use dyconv::graph::{Builder, Conv2d, Graph, Init, Linear, MixConv, Op, Router, cost, init};

use crate::compare::{all_options, check, check_narrow, input, is_small};
use crate::generate::graph as generated;

/// A model file: what is read can be written and is the same then; a small network answers as the oracle does.
pub fn model(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    let written = model.to_bytes().expect("what was read can be written");
    let again = Model::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again, model);
    assert_eq!(again.to_bytes().expect("as before"), written);
    if is_small(&model.graph) {
        check(&model.graph, &model.weights, model.tau, 2);
    }
}

/// A graph as JSON.
pub fn graph(bytes: &[u8]) {
    let Ok(graph) = serde_json::from_slice::<Graph>(bytes) else { return };
    let text = serde_json::to_string(&graph).expect("a graph is plain values");
    assert_eq!(serde_json::from_str::<Graph>(&text).expect("what was written can be read"), graph);
    let _all_of_it = (cost(&graph), graph.router_nodes(), graph.readers(), graph.parameters());
    if is_small(&graph) {
        let weights = init(&graph, Init::default());
        weights.check(&graph).expect("first weights fit their graph");
        check(&graph, &weights, 1.0, 1);
    }
}

/// Bytes that choose ops and sizes: nearly every input is a network that runs.
pub fn network(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let Ok(Some(graph)) = generated(&mut u) else { return };
    if !is_small(&graph) {
        return;
    }
    let seed = u.arbitrary::<u8>().unwrap_or(0);
    let mut weights = init(&graph, Init { seed: seed.into(), ..Init::default() });
    // Fresh statistics and biases are ones and zeros, which hide mistakes.
    let mut state = 1u32 + u32::from(seed);
    for (name, tensor) in &mut weights.0 {
        let variance = name.ends_with("running_var");
        if variance || name.ends_with(".bias") || name.ends_with("running_mean") {
            for v in &mut tensor.data {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let r = (state >> 8) as f32 / (1u32 << 24) as f32;
                *v = if variance { 0.2 + r } else { r - 0.5 };
            }
        }
    }
    let tau = [1.0, 0.05, 30.0][usize::from(seed) % 3];
    check(&graph, &weights, tau, [1, 2, 3, 9][usize::from(seed / 3) % 4]);
    check_narrow(&graph, &weights, tau);
}

/// Sessions of one plan on many threads, with and without a shared pool: every answer has the same bits.
pub fn sessions(bytes: &[u8]) {
    let [channels, side, threads, order @ ..] = bytes else { return };
    let dims = [1 + usize::from(channels % 9), 4 + usize::from(side % 7), 5 + usize::from(side / 7 % 7)];
    let graph = dynamic(dims).expect("sizes that fit");
    let weights = init(&graph, Init { seed: u64::from(*channels), ..Init::default() });
    let (count, answers) = (4, 10);
    let x = input(&graph, count);
    let n = x.len() / count;
    let options: Vec<_> = all_options().into_iter().filter(|o| o.precision == Precision::F32).collect();
    let options = options[order.first().map_or(0, |o| usize::from(*o)) % options.len()];
    let plan = Arc::new(Plan::with_options(&graph, &weights, 1.0, options).expect("a small network compiles"));
    let expected = Session::new(Arc::clone(&plan)).predict(&x, count).expect("inputs of the right size");
    let pool = Arc::new(Pool::new(2));
    std::thread::scope(|scope| {
        for t in 0..1 + usize::from(threads % 4) {
            let (plan, pool, expected, x) = (&plan, &pool, &expected, &x);
            scope.spawn(move || {
                let mut session = match t % 3 {
                    0 => Session::with_pool(Arc::clone(plan), Arc::clone(pool)),
                    1 => Session::with_threads(Arc::clone(plan), 2),
                    _ => Session::new(Arc::clone(plan)),
                };
                for byte in order.iter().take(6) {
                    let from = usize::from(*byte) % count;
                    let to = from + 1 + usize::from(byte / 16) % (count - from);
                    let found = session.predict(&x[from * n..to * n], to - from).expect("inputs of the right size");
                    let expected = &expected[from * answers..to * answers];
                    let same = found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{options:?}: thread {t}, samples {from}..{to}");
                }
            });
        }
    });
}

/// A small dynamic network with a residual, a depthwise layer and an upsampling one.
pub fn dynamic(dims: [usize; 3]) -> Result<Graph, dyconv::graph::GraphError> {
    let mut b = Builder::new(dims)?;
    let conv = |out, k: usize, groups| Conv2d { padding: [k / 2; 2], groups, bias: true, ..Conv2d::new(out, [k, k]) };
    let x = b.input();
    let y = b.push("stem", Op::Conv(conv(16, 3, 1)), &[x])?;
    let pi = b.router("mixed.router", y, &Router::default())?;
    let y = b.push("mixed", Op::MixConv(MixConv { kernels: 4, conv: conv(16, 3, 1) }), &[y, pi])?;
    let z = b.push("depthwise", Op::Conv(conv(16, 3, 16)), &[y])?;
    let y = b.push("add", Op::Add, &[y, z])?;
    let pi = b.router("wide.router", y, &Router::default())?;
    let y = b.push("wide", Op::MixConv(MixConv { kernels: 4, conv: conv(33, 1, 1) }), &[y, pi])?;
    let y = b.push("up", Op::Upsample { scale: 2, mode: dyconv_graph::UpsampleMode::Bilinear }, &[y])?;
    let y = b.push("pool", Op::GlobalAvgPool, &[y])?;
    let y = b.push("classifier", Op::Linear(Linear { out_features: 10, bias: true }), &[y])?;
    b.finish(y)
}
