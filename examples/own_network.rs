//! Describes a network of one's own, counts its cost, compiles it and runs it: `cargo run --release --example own_network`
//!
//! The last layer's kernels are mixed by what the first layer saw: coefficients may come from any node.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it found")]

use dyconv::engine::{Plan, Session};
use dyconv::graph::{Activation, Builder, Conv2d, Init, Linear, MixConv, Op, Router, cost, init};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut b = Builder::new([3, 32, 32])?;
    let x = b.input();
    let conv = Conv2d { stride: [2, 2], padding: [1, 1], bias: true, ..Conv2d::new(16, [3, 3]) };
    let stem = b.push("stem", Op::Conv(conv), &[x])?;
    let stem = b.push("stem.act", Op::Activation(Activation::Relu), &[stem])?;
    let pi = b.router("router", stem, &Router { kernels: 8, ..Router::default() })?;
    let mut y = stem;
    for name in ["first", "second"] {
        let conv = Conv2d { padding: [1, 1], bias: true, ..Conv2d::new(16, [3, 3]) };
        y = b.push(name, Op::MixConv(MixConv { kernels: 8, conv }), &[y, pi])?;
        y = b.push(&format!("{name}.act"), Op::Activation(Activation::Relu), &[y])?;
    }
    let y = b.push("pool", Op::GlobalAvgPool, &[y])?;
    let y = b.push("classifier", Op::Linear(Linear { out_features: 10, bias: true }), &[y])?;
    let graph = b.finish(y)?;

    let cost = cost(&graph);
    println!("{} parameters, {} multiply-adds, of these mixing {}", cost.params, cost.total.total(), cost.total.mixing);
    let plan = Plan::new(&graph, &init(&graph, Init::default()), 1.0)?;
    for step in plan.describe() {
        println!("{step}");
    }
    let logits = Session::new(plan).predict(&[0.5; 3 * 32 * 32], 1)?;
    println!("{logits:?}");
    Ok(())
}
