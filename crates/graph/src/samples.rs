//! One small network per op, activation and gate, for tests that must cover all of them, and weights for any network.
//!
//! A macro generates the list of samples together with an exhaustive match, so an op without a sample does not compile.

use crate::builder::Builder;
use crate::error::GraphError;
use crate::graph::{Graph, NodeId};
use crate::init::{Init, RouterInit, init};
use crate::op::{Activation, AvgPool2d, Conv2d, ConvTranspose2d, Linear, MixConv, MixLinear, Op, Pool2d, UpsampleMode};
use crate::router::{Gate, Router};
use crate::weights::Weights;

/// Defines a function that lists the samples from `pattern => sample` pairs, whose patterns must cover the type.
macro_rules! samples {
    ($(#[$doc:meta])* $name:ident: $type:ty { $($pattern:pat => $sample:expr,)+ }) => {
        $(#[$doc])*
        pub fn $name() -> Vec<$type> {
            let covered = |value: &$type| match value {
                $($pattern => {})+
            };
            let samples = vec![$($sample),+];
            samples.iter().for_each(covered);
            samples
        }
    };
}

samples! {
    /// Every op, for maps `[4, 6, 5]` or vectors `[4]`; mixtures have three kernels.
    ops: Op {
        Op::Input => Op::Input,
        Op::Conv(_) => Op::Conv(conv()),
        Op::MixConv(_) => Op::MixConv(MixConv { kernels: 3, conv: conv() }),
        Op::ConvTranspose(_) => Op::ConvTranspose(ConvTranspose2d {
            stride: [2, 2], padding: [1, 1], bias: true, ..ConvTranspose2d::new(4, [4, 4])
        }),
        Op::Linear(_) => Op::Linear(linear()),
        Op::MixLinear(_) => Op::MixLinear(MixLinear { kernels: 3, linear: linear() }),
        Op::BatchNorm { .. } => Op::BatchNorm { eps: 1e-3 },
        Op::Activation(_) => Op::Activation(Activation::Relu),
        Op::Softmax => Op::Softmax,
        Op::Add => Op::Add,
        Op::Scale => Op::Scale,
        Op::GlobalAvgPool => Op::GlobalAvgPool,
        Op::MaxPool(_) => Op::MaxPool(Pool2d { padding: [1, 1], ..Pool2d::new(3, 2) }),
        Op::AvgPool(_) => Op::AvgPool(AvgPool2d {
            pool: Pool2d { padding: [1, 1], ..Pool2d::new(3, 2) }, count_padding: false
        }),
        Op::Upsample { .. } => Op::Upsample { scale: 2, mode: UpsampleMode::Bilinear },
        Op::LeakyRelu { .. } => Op::LeakyRelu { slope: 0.1 },
        Op::Mul => Op::Mul,
        Op::Concat => Op::Concat,
        Op::Slice { .. } => Op::Slice { start: 1, channels: 2 },
        Op::Flatten => Op::Flatten,
        Op::ChannelShuffle { .. } => Op::ChannelShuffle { groups: 2 },
        Op::Dropout { .. } => Op::Dropout { rate: 0.25 },
    }
}

samples! {
    /// Every activation.
    activations: Activation {
        Activation::Relu => Activation::Relu,
        Activation::Relu6 => Activation::Relu6,
        Activation::HardSwish => Activation::HardSwish,
        Activation::HardSigmoid => Activation::HardSigmoid,
        Activation::Sigmoid => Activation::Sigmoid,
        Activation::Silu => Activation::Silu,
        Activation::Gelu => Activation::Gelu,
    }
}

samples! {
    /// Every gate.
    gates: Gate {
        Gate::Softmax => Gate::Softmax,
        Gate::Sigmoid => Gate::Sigmoid,
    }
}

fn conv() -> Conv2d {
    Conv2d { padding: [1, 1], bias: true, ..Conv2d::new(4, [3, 3]) }
}

fn linear() -> Linear {
    Linear { out_features: 5, bias: true }
}

/// A network for every op, every activation (of a map, of a vector, and after a convolution with batch norm) and every
/// gate of a dynamic convolution. Inputs are `[4, 6, 5]`.
///
/// # Panics
/// If a sample is not a valid network: a bug in this file.
pub fn networks() -> Vec<(String, Graph)> {
    let mut all = Vec::new();
    let mut add = |name: String, write: &dyn Fn(&mut Builder, NodeId) -> Result<NodeId, GraphError>| {
        let written = Builder::new([4, 6, 5]).and_then(|mut b| {
            let x = b.input();
            let y = write(&mut b, x)?;
            b.finish(y)
        });
        all.push((name, written.unwrap_or_else(|e| panic!("a sample: {e}"))));
    };
    for op in ops() {
        add(op.name().to_owned(), &|b, x| one(b, x, &op));
    }
    for (name, op) in settings() {
        add(name.to_owned(), &|b, x| one(b, x, &op));
    }
    for op in [Op::Mul, Op::Concat, Op::LeakyRelu { slope: -0.5 }, Op::Slice { start: 3, channels: 1 }] {
        add(format!("{} of vectors", op.name()), &|b, x| {
            let v = b.push("pool", Op::GlobalAvgPool, &[x])?;
            b.push("op", op.clone(), &vec![v; op.arity().unwrap_or(2)])
        });
    }
    for activation in activations() {
        let op = || Op::Activation(activation);
        add(format!("{} of a vector", activation.name()), &|b, x| {
            let v = b.push("pool", Op::GlobalAvgPool, &[x])?;
            b.push("op", op(), &[v])
        });
        add(format!("{} of a map", activation.name()), &|b, x| b.push("op", op(), &[x]));
        add(format!("{} behind a convolution", activation.name()), &|b, x| {
            let y = b.push("conv", Op::Conv(conv()), &[x])?;
            let y = b.push("bn", Op::BatchNorm { eps: 1e-3 }, &[y])?;
            b.push("op", op(), &[y])
        });
        add(format!("{} behind a sum", activation.name()), &|b, x| {
            let y = b.push("conv", Op::Conv(conv()), &[x])?;
            let y = b.push("sum", Op::Add, &[x, y])?;
            b.push("op", op(), &[y])
        });
    }
    for gate in gates() {
        let router = Router { kernels: 3, gate, ..Router::default() };
        add(format!("{} router", gate.op().name()), &|b, x| {
            let pi = b.router("router", x, &router)?;
            b.push("conv", Op::MixConv(MixConv { kernels: 3, conv: conv() }), &[x, pi])
        });
    }
    all
}

/// Reproducible numbers in −1..1.
pub fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// First weights with attention that depends on the input, and statistics that are not those of a fresh batch norm.
pub fn weights(graph: &Graph) -> Weights {
    let mut weights = init(graph, Init { seed: 3, router: RouterInit::Large });
    for (i, (name, tensor)) in weights.0.iter_mut().enumerate() {
        let draw = noise(i as u32, tensor.data.len());
        for (value, r) in tensor.data.iter_mut().zip(draw) {
            match name.rsplit('.').next() {
                Some("running_mean") => *value = 0.2 * r,
                Some("running_var") => *value = 1.0 + 0.4 * r,
                Some("bias") => *value += 0.1 * r,
                _ => {}
            }
        }
    }
    weights
}

/// Settings that change how an op is computed, beyond those of `ops`.
fn settings() -> Vec<(&'static str, Op)> {
    let one_sided = || Conv2d { padding: [0, 1], end_padding: Some([1, 0]), stride: [2, 2], ..conv() };
    let windows = || Pool2d { end_padding: Some([1, 2]), ..Pool2d::new(3, 2) };
    vec![
        ("conv padded on one side", Op::Conv(one_sided())),
        ("depthwise conv padded on one side", Op::Conv(Conv2d { groups: 4, ..one_sided() })),
        ("mix_conv padded on one side", Op::MixConv(MixConv { kernels: 3, conv: one_sided() })),
        ("max_pool padded on one side", Op::MaxPool(windows())),
        ("avg_pool padded on one side", Op::AvgPool(AvgPool2d { pool: windows(), count_padding: false })),
        ("avg_pool that counts padding", Op::AvgPool(AvgPool2d { pool: windows(), count_padding: true })),
        ("nearest upsample", Op::Upsample { scale: 3, mode: UpsampleMode::Nearest }),
    ]
}

/// Adds the op, with the nodes it needs before it.
fn one(b: &mut Builder, x: NodeId, op: &Op) -> Result<NodeId, GraphError> {
    let inputs = match op {
        Op::Input => return Ok(x),
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::GlobalAvgPool
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Upsample { .. }
        | Op::LeakyRelu { .. }
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. } => vec![x],
        Op::Add | Op::Mul => vec![x, x],
        Op::Concat => vec![x, b.push("relu", Op::Activation(Activation::Relu), &[x])?, x],
        Op::Linear(_) | Op::Softmax => vec![b.push("pool", Op::GlobalAvgPool, &[x])?],
        Op::Scale => vec![x, b.push("pool", Op::GlobalAvgPool, &[x])?],
        Op::MixConv(mix) => vec![x, b.router("router", x, &Router { kernels: mix.kernels, ..Router::default() })?],
        Op::MixLinear(mix) => {
            let v = b.push("pool", Op::GlobalAvgPool, &[x])?;
            vec![v, b.router("router", v, &Router { kernels: mix.kernels, ..Router::default() })?]
        }
    };
    b.push("op", op.clone(), &inputs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cost::cost;

    /// Shape rule, JSON, cost and initial weights of every op, activation and gate.
    #[test]
    fn every_variant_is_known_everywhere() {
        for (name, graph) in networks() {
            let text = serde_json::to_string(&graph).unwrap();
            assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph, "{name}");
            let weights = init(&graph, Init::default());
            weights.check(&graph).unwrap();
            let trained = graph.parameters().iter().filter(|p| p.trained).map(|p| p.elements() as u64).sum::<u64>();
            assert_eq!(cost(&graph).params, trained, "{name}");
            let layers = graph.parameters().into_iter().filter(|p| p.name.ends_with("weight"));
            for layer in layers {
                assert!(
                    weights.get(&layer.name).data.iter().any(|w| *w != 0.0),
                    "{name}: {} starts at zero",
                    layer.name
                );
            }
        }
    }

    #[test]
    fn names_differ_and_are_those_of_the_json() {
        let names: BTreeSet<&str> = ops().iter().map(Op::name).collect();
        assert_eq!(names.len(), ops().len());
        for activation in activations() {
            assert_eq!(serde_json::to_value(activation).unwrap(), activation.name());
        }
        for op in ops() {
            let json = serde_json::to_value(&op).unwrap();
            let key = json.as_str().map(str::to_owned).or_else(|| json.as_object()?.keys().next().cloned());
            let expected = if let Op::Activation(_) = op { "activation" } else { op.name() };
            assert_eq!(key.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_gate_is_found_by_its_op() {
        for gate in gates() {
            assert_eq!(Gate::of(&gate.op()), Some(gate));
        }
        for op in ops().into_iter().chain(activations().into_iter().map(Op::Activation)) {
            assert!(Gate::of(&op).is_none_or(|gate| gate.op() == op), "{op:?}");
        }
    }

    /// The properties of a router's coefficients, checked on the functions themselves.
    #[test]
    fn gates_sum_to_what_they_say() {
        for (gate, kernels) in gates().into_iter().flat_map(|gate| [1, 3, 4].map(|k| (gate, k))) {
            let of_zero = match gate {
                Gate::Softmax => 1.0 / kernels as f32,
                Gate::Sigmoid => Activation::Sigmoid.apply(0.0),
            };
            assert_eq!(gate.sum_at_zero(kernels), of_zero * kernels as f32);
        }
    }
}
