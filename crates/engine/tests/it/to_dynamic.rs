//! Static networks made dynamic: the layers of our own dynamic forms, with unchanged answers.

use crate::common::{relative_error, values, weights};
use dyconv_engine::oracle;
use dyconv_graph::{Builder, Conv2d, Gate, Graph, Linear, Op, Pool2d, Router, to_dynamic};
use dyconv_models::{FAMILIES, Options, build};

/// A mixture of K kernels, each rounded to f32, through a few layers.
const SAME: f64 = 1e-6;

#[test]
fn the_dynamic_form_of_every_family_is_our_own() {
    for family in FAMILIES {
        let options = Options { image_size: [32, 32], small_stem: true, ..Options::default() };
        let width = ["", "_x0_25"][usize::from(family.name.len() >= 4)];
        let [fixed, ours] = ["", "dy_"].map(|form| {
            let name = format!("{form}{}{width}", family.name);
            build(&name, &options).unwrap_or_else(|e| panic!("{name}: {e}"))
        });
        let (dynamic, _) = to_dynamic(&fixed, &weights(&fixed, 1), 4, &Router::default(), 0).unwrap();
        assert_eq!(dynamic, ours, "{}", family.name);
    }
}

/// A network as an importer makes it: branches that are concatenated, biases, no batch norm.
fn imported() -> Graph {
    let conv =
        |out, kernel: usize| Op::Conv(Conv2d { padding: [kernel / 2; 2], bias: true, ..Conv2d::new(out, [kernel; 2]) });
    let mut b = Builder::new([3, 9, 7]).unwrap();
    let x = b.input();
    let x = b.push("stem", conv(8, 3), &[x]).unwrap();
    let one = b.push("one", conv(6, 1), &[x]).unwrap();
    let three = b.push("three", conv(5, 3), &[x]).unwrap();
    let pooled = b.push("max", Op::MaxPool(Pool2d { padding: [1; 2], ..Pool2d::new(3, 1) }), &[x]).unwrap();
    let pooled = b.push("pooled", conv(4, 1), &[pooled]).unwrap();
    let x = b.push("cat", Op::Concat, &[one, three, pooled]).unwrap();
    let x = b.push("last", conv(10, 3), &[x]).unwrap();
    let x = b.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
    let x = b.push("classifier", Op::Linear(Linear { out_features: 7, bias: true }), &[x]).unwrap();
    b.finish(x).unwrap()
}

#[test]
fn answers_are_unchanged() {
    let graph = imported();
    let static_weights = weights(&graph, 3);
    let x = values(2 * 3 * 9 * 7, 5);
    let expected = oracle::run(&graph, &static_weights, 1.0, &x, 2).unwrap();
    for (kernels, gate) in [(2, Gate::Softmax), (4, Gate::Softmax), (3, Gate::Sigmoid)] {
        let router = Router { gate, ..Router::default() };
        let (dynamic, weights) = to_dynamic(&graph, &static_weights, kernels, &router, 9).unwrap();
        assert_eq!(dynamic.dynamic_layers(), 4);
        for tau in [1.0, 30.0] {
            let found = oracle::run(&dynamic, &weights, tau, &x, 2).unwrap();
            let error = relative_error(&found, &expected, 0.0);
            assert!(error <= SAME, "{kernels} kernels, {gate:?}: {error:e}");
        }
    }
}
