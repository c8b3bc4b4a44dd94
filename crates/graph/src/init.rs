//! Initial weights of a network. For a given seed they do not depend on the order of the nodes.

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;
use rand_distr::Normal;

use crate::graph::{Graph, NodeId};
use crate::op::{Conv2d, ConvTranspose2d, MixConv, Op};
use crate::weights::{Tensor, Weights};

/// Initialization of the routers' linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterInit {
    /// Weights and biases uniform in ±1/√fan_in: the initial attention is nearly uniform.
    #[default]
    Small,
    /// Weights Kaiming normal (fan-out), biases zero: the initial attention is peaky, which ruins deep dynamic
    /// networks.
    Large,
}

/// Settings of [`init`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Init {
    /// Seed of all random streams.
    pub seed: u64,
    /// Initialization of routers.
    pub router: RouterInit,
}

/// Initializes the weights of a network.
///
/// Convolutions, including transposed ones: Kaiming normal over the fan-out of one group, for each kernel of a bank
/// separately. Batch norm: scale 1, shift 0. Routers: [`RouterInit`]. Other linear layers: uniform in ±1/√fan_in. The
/// output layer: normal with standard deviation 0.01 if it is linear, 0.001 if it is a convolution whose output is a
/// map (heat maps are zero almost everywhere); bias 0. Kernel biases: 0.
pub fn init(graph: &Graph, settings: Init) -> Weights {
    let routers = graph.router_nodes();
    let weights = graph.parameters().into_iter().map(|p| {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed ^ fnv1a(&p.name));
        let tensor = draw(graph, p.node, &p.name, &p.shape, routers[p.node.index()], settings.router, &mut rng);
        (p.name, tensor)
    });
    Weights(weights.collect())
}

fn draw(
    graph: &Graph,
    id: NodeId,
    name: &str,
    shape: &[usize],
    router: bool,
    router_init: RouterInit,
    rng: &mut ChaCha8Rng,
) -> Tensor {
    let bias = name.ends_with(".bias");
    let answers = id == graph.output();
    let fan_in = graph.input_shape(id).channels() as f32;
    let zeros = || Tensor::full(shape, 0.0);
    match &graph.node(id).op {
        Op::Conv(_) | Op::MixConv(_) | Op::ConvTranspose(_) if bias => zeros(),
        Op::Conv(_) | Op::MixConv(_) | Op::ConvTranspose(_) if answers => normal(shape, 0.001, rng),
        Op::Conv(Conv2d { out_channels, groups, kernel, .. })
        | Op::MixConv(MixConv { conv: Conv2d { out_channels, groups, kernel, .. }, .. })
        | Op::ConvTranspose(ConvTranspose2d { out_channels, groups, kernel, .. }) => {
            let fan_out = (out_channels / groups * kernel[0] * kernel[1]) as f32;
            normal(shape, (2.0 / fan_out).sqrt(), rng)
        }
        Op::Linear(linear) if router => match router_init {
            RouterInit::Small => uniform(shape, 1.0 / fan_in.sqrt(), rng),
            RouterInit::Large if bias => zeros(),
            RouterInit::Large => normal(shape, (2.0 / linear.out_features as f32).sqrt(), rng),
        },
        // Routers from `Builder::router` have none.
        Op::MixLinear(_) if router => zeros(),
        Op::Linear(_) | Op::MixLinear(_) if !answers => uniform(shape, 1.0 / fan_in.sqrt(), rng),
        Op::Linear(_) | Op::MixLinear(_) if bias => zeros(),
        Op::Linear(_) | Op::MixLinear(_) => normal(shape, 0.01, rng),
        Op::BatchNorm { .. } => {
            let ones = name.ends_with(".weight") || name.ends_with(".running_var");
            Tensor::full(shape, if ones { 1.0 } else { 0.0 })
        }
        op @ (Op::Input
        | Op::Activation(_)
        | Op::Softmax
        | Op::Add
        | Op::Scale
        | Op::GlobalAvgPool
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Upsample { .. }
        | Op::LeakyRelu { .. }
        | Op::Mul
        | Op::Concat
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. }) => unreachable!("`{}` has no tensors", op.name()),
    }
}

fn normal(shape: &[usize], std: f32, rng: &mut ChaCha8Rng) -> Tensor {
    let distribution = Normal::new(0.0, std).expect("a finite positive deviation");
    Tensor::new(shape, distribution.sample_iter(rng).take(shape.iter().product()).collect())
}

fn uniform(shape: &[usize], bound: f32, rng: &mut ChaCha8Rng) -> Tensor {
    let distribution = Uniform::new_inclusive(-bound, bound).expect("a finite bound");
    Tensor::new(shape, distribution.sample_iter(rng).take(shape.iter().product()).collect())
}

/// FNV-1a: a fixed hash, so that the random stream of a tensor depends only on its name and the seed.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::op::Linear;
    use crate::router::Router;

    fn network() -> Graph {
        let mut b = Builder::new([64, 8, 8]).unwrap();
        let x = b.input();
        let pi = b.router("conv.router", x, &Router::default()).unwrap();
        let y = b.push("conv", Op::MixConv(MixConv { kernels: 4, conv: Conv2d::new(64, [3, 3]) }), &[x, pi]).unwrap();
        let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
        let y = b.push("classifier", Op::Linear(Linear { out_features: 10, bias: true }), &[y]).unwrap();
        b.finish(y).unwrap()
    }

    fn deviation(values: &[f32]) -> f32 {
        (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
    }

    #[test]
    fn kernels_are_drawn_separately_with_kaiming_deviation() {
        let weights = init(&network(), Init::default());
        let bank = &weights.get("conv.weight").data;
        let kernel = bank.len() / 4;
        for k in 0..4 {
            let std = deviation(&bank[k * kernel..][..kernel]);
            assert!((std / (2.0f32 / (64.0 * 9.0)).sqrt() - 1.0).abs() < 0.03, "kernel {k}: {std}");
        }
        assert_ne!(bank[..kernel], bank[kernel..2 * kernel]);
    }

    #[test]
    fn routers_start_small_by_default_and_large_on_request() {
        let small = init(&network(), Init::default());
        assert!(small.get("conv.router.fc1.weight").data.iter().all(|v| v.abs() <= 0.125));
        assert!(small.get("conv.router.fc1.bias").data.iter().any(|v| *v != 0.0));
        let large = init(&network(), Init { router: RouterInit::Large, ..Init::default() });
        assert!(deviation(&large.get("conv.router.fc2.weight").data) > 0.4);
        assert!(large.get("conv.router.fc1.bias").data.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn heat_maps_start_near_zero_and_transposed_convolutions_keep_the_fan_out() {
        let mut b = Builder::new([32, 4, 4]).unwrap();
        let x = b.input();
        let deconv = ConvTranspose2d { stride: [2, 2], padding: [1, 1], ..ConvTranspose2d::new(64, [4, 4]) };
        let y = b.push("deconv", Op::ConvTranspose(deconv), &[x]).unwrap();
        let heatmaps = Conv2d { bias: true, ..Conv2d::new(17, [1, 1]) };
        let y = b.push("heatmaps", Op::Conv(heatmaps), &[y]).unwrap();
        let weights = init(&b.finish(y).unwrap(), Init::default());
        assert!((deviation(&weights.get("deconv.weight").data) / (2.0f32 / (64.0 * 16.0)).sqrt() - 1.0).abs() < 0.03);
        assert!((deviation(&weights.get("heatmaps.weight").data) / 0.001 - 1.0).abs() < 0.1);
        assert!(weights.get("heatmaps.bias").data.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn the_seed_decides() {
        let graph = network();
        assert_eq!(init(&graph, Init::default()), init(&graph, Init::default()));
        assert_ne!(init(&graph, Init::default()), init(&graph, Init { seed: 1, ..Init::default() }));
        init(&graph, Init::default()).check(&graph).unwrap();
    }
}
