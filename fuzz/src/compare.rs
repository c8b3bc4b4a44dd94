//! The plan against the oracle, on networks that are small enough to run thousands of times.

use dyconv::engine::{Isa, Options, Plan, Precision, Session, Storage, oracle};
use dyconv::graph::{Graph, Op, Shape, Weights, cost};

/// Values of all nodes, weights or padded maps, and multiply-adds, of a network that is run.
const MOST_VALUES: usize = 1 << 15;
const MOST_MADDS: u64 = 1 << 18;

/// f32 sums through a few layers against f64, of the largest value, where random weights may cancel.
const TOLERANCE: f64 = 2e-3;

/// Values beyond this lose their last digits to sums that a different order rounds differently.
const LARGEST_INSIDE: f64 = 1e15;

/// Whether a network is small enough to be run here.
pub fn is_small(graph: &Graph) -> bool {
    let sum = |values: &mut dyn Iterator<Item = usize>| values.fold(0usize, usize::saturating_add);
    let values = sum(&mut graph.nodes().iter().map(|node| node.shape.elements()));
    let weights = sum(&mut graph.parameters().iter().map(|p| p.elements()));
    let padded = sum(&mut graph.ids().map(|id| {
        let border = match &graph.node(id).op {
            Op::Conv(conv) => conv.padding,
            Op::MixConv(mix) => mix.conv.padding,
            Op::ConvTranspose(conv) => [conv.kernel[0] + conv.stride[0], conv.kernel[1] + conv.stride[1]],
            _ => [0, 0],
        };
        let Shape::Map([channels, height, width]) = graph.input_shape(id) else { return 0 };
        channels.saturating_mul(height + 2 * border[0]).saturating_mul(width + 2 * border[1])
    }));
    let compared = sum(&mut graph.ids().map(|id| match &graph.node(id).op {
        Op::MaxPool(pool) => graph.node(id).shape.elements().saturating_mul(pool.kernel[0] * pool.kernel[1]),
        _ => 0,
    }));
    values <= MOST_VALUES
        && weights <= MOST_VALUES
        && padded <= 4 * MOST_VALUES
        && compared as u64 <= MOST_MADDS
        && cost(graph).total.total() <= MOST_MADDS
}

/// `batch` inputs, the same for the same network.
pub fn input(graph: &Graph, batch: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..batch * graph.input_dims().iter().product::<usize>()).map(|_| next()).collect()
}

/// Every way to store banks and to multiply, on every instruction set of this CPU.
pub fn all_options() -> Vec<Options> {
    let mut all = Vec::new();
    for isa in Isa::available() {
        for bank in [Storage::F32, Storage::Bf16, Storage::Int8] {
            for precision in [Precision::F32, Precision::Bf16] {
                all.push(Options { isa: Some(isa), bank, precision });
            }
        }
    }
    all
}

/// Runs a network by the oracle and, on every instruction set, by the plan: twice, and a sample alone.
pub fn check(graph: &Graph, weights: &Weights, tau: f32, batch: usize) {
    let x = input(graph, batch);
    let (mut inside, mut finite) = (0f64, true);
    let expected = oracle::run_all(graph, weights, tau, &x, batch, &mut |_, _, values| {
        for v in values {
            finite &= v.is_finite();
            inside = inside.max(f64::from(v.abs()));
        }
    });
    let expected = expected.expect("the oracle runs what was checked");
    let largest = expected.iter().fold(1e-3f64, |m, v| m.max(f64::from(v.abs())));
    let scale = largest.max(inside * 1e-2);
    for isa in Isa::available() {
        let options = Options { isa: Some(isa), ..Options::default() };
        let plan = Plan::with_options(graph, weights, tau, options).expect("a small network compiles");
        let mut session = Session::new(plan);
        let found = session.predict(&x, batch).expect("inputs of the right size");
        let again = session.predict(&x, batch).expect("inputs of the right size");
        let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same(&found, &again), "two runs differ on {}", isa.name());
        assert_eq!(found.len(), expected.len());
        if !finite || inside > LARGEST_INSIDE {
            continue;
        }
        let text = || serde_json::to_string(graph).expect("a graph is plain values");
        let near = |found: &[f32], expected: &[f32], what: &str| {
            for (i, (f, e)) in found.iter().zip(expected).enumerate() {
                let error = f64::from((f - e).abs()) / scale;
                assert!(error <= TOLERANCE, "{}, {what}: value {i} is {f}, expected {e}\n{}", isa.name(), text());
            }
        };
        near(&found, &expected, "the batch");
        let alone = session.predict(&x[..x.len() / batch], 1).expect("inputs of the right size");
        near(&alone, &expected[..expected.len() / batch], "a sample alone");
    }
}

/// With narrow banks and products a finite answer stays finite.
pub fn check_narrow(graph: &Graph, weights: &Weights, tau: f32) {
    let x = input(graph, 1);
    let expected = oracle::run(graph, weights, tau, &x, 1).expect("the oracle runs what was checked");
    for options in all_options() {
        let plan = Plan::with_options(graph, weights, tau, options).expect("a small network compiles");
        assert!(!plan.describe().is_empty());
        let found = Session::with_threads(plan, 2).predict(&x, 1).expect("inputs of the right size");
        for (f, e) in found.iter().zip(&expected) {
            assert!(f.is_finite() || !e.is_finite(), "{options:?}: {f} for {e}");
        }
    }
}
