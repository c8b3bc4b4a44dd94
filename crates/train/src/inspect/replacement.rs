//! Replaces the attention of a router.
//!
//! Coefficients are replaced layer by layer during the forward pass: a router behind a replaced one sees the features
//! computed with the replacement, as with the hooks of the paper and of PyTorch. The coefficients of an image do not
//! depend on the batch size.

use burn::tensor::{Device, Tensor, TensorData};
use dyconv_graph::{Gate, Graph, Node, Shape};
use dyconv_nn::{Network, Value};
use serde::Serialize;

use crate::splitmix::splitmix64;

/// What replaces the coefficients of an image, in every selected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Replacement {
    /// Nothing: the network is unchanged.
    Normal,
    /// The layer's mean coefficients over all images.
    Mean,
    /// Equal coefficients, 1/K; for a sigmoid router, the image's own sum divided equally. The kernel is the average
    /// one.
    Uniform,
    /// The coefficients of the previous image in the seeded order; the first image gets those that the last has in the
    /// unchanged network.
    AnotherImage,
    /// The image's own, permuted; the permutation depends on seed, image and layer.
    Shuffled,
    /// The whole sum (1 for softmax) on the largest coefficient.
    OneHot,
}

/// In the order of the table.
pub const REPLACEMENTS: [Replacement; 6] = [
    Replacement::Normal,
    Replacement::Mean,
    Replacement::Uniform,
    Replacement::AnotherImage,
    Replacement::Shuffled,
    Replacement::OneHot,
];

impl Replacement {
    /// The name for display.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Mean => "data-set mean of each layer",
            Self::Uniform => "uniform (average kernel)",
            Self::AnotherImage => "another image's",
            Self::Shuffled => "shuffled within the image",
            Self::OneHot => "one-hot at the largest",
        }
    }
}

/// The router of a dynamic layer.
#[derive(Debug, Clone)]
pub(super) struct Router {
    /// Name of the node whose value is the coefficients.
    pub name: String,
    /// K.
    pub kernels: usize,
    /// Height and width of the layer's input; 1 × 1 for a vector.
    pub size: [usize; 2],
    /// Whether coefficients sum to one.
    sums_to_one: bool,
}

/// The router of every dynamic layer, in execution order of the layers.
pub(super) fn routers(graph: &Graph) -> Vec<Router> {
    let routers = graph.mixtures().map(|(node, mixture)| {
        let size = match graph.node(node.inputs[0]).shape {
            Shape::Map([_, h, w]) => [h, w],
            Shape::Vector(_) => [1, 1],
        };
        let router = graph.node(mixture.attention);
        Router {
            name: router.name.clone(),
            kernels: mixture.kernels,
            size,
            sums_to_one: Gate::of(&router.op).is_some_and(Gate::sums_to_one),
        }
    });
    routers.collect()
}

/// Runs batches with one replacement.
pub(super) struct Probe {
    pub replacement: Replacement,
    /// Replace only in layers with this input size; `None`: in all.
    pub size: Option<[usize; 2]>,
    seed: u64,
    routers: Vec<Router>,
    /// By router: the mean coefficients, or those of the previous image.
    given: Vec<Vec<f32>>,
}

impl Probe {
    /// `mean` has the mean coefficients by router, `last` those of the last image.
    pub fn new(
        replacement: Replacement,
        size: Option<[usize; 2]>,
        seed: u64,
        routers: &[Router],
        mean: &[Vec<f32>],
        last: &[Vec<f32>],
    ) -> Self {
        let given = if replacement == Replacement::AnotherImage { last } else { mean }.to_vec();
        Self { replacement, size, seed, routers: routers.to_vec(), given }
    }

    /// The predictions for a batch `[N, C, H, W]` of images with these indices, row by row.
    pub fn run(&mut self, network: &Network, images: Tensor<4>, indices: &[usize]) -> Vec<f32> {
        let device = images.device();
        let answers = network.forward_with(images, |node, value| match self.router(node) {
            Some(i) => self.replace(i, value.into_vec(), indices, &device),
            None => value,
        });
        answers.into_vec()
    }

    /// Index of the router that the node belongs to, if its coefficients are to be replaced.
    fn router(&self, node: &Node) -> Option<usize> {
        if self.replacement == Replacement::Normal {
            return None;
        }
        let chosen = |r: &Router| r.name == node.name && self.size.is_none_or(|size| size == r.size);
        self.routers.iter().position(chosen)
    }

    fn replace(&mut self, i: usize, mut rows: Vec<f32>, indices: &[usize], device: &Device) -> Value {
        let Router { kernels: k, sums_to_one, .. } = self.routers[i];
        let total = |row: &[f32]| if sums_to_one { 1.0 } else { row.iter().sum() };
        for (row, index) in rows.chunks_exact_mut(k).zip(indices) {
            match self.replacement {
                Replacement::Normal => {}
                Replacement::Mean => row.copy_from_slice(&self.given[i]),
                Replacement::Uniform => row.fill(total(row) / k as f32),
                Replacement::AnotherImage => row.swap_with_slice(&mut self.given[i]),
                Replacement::Shuffled => shuffle(row, self.seed, *index, i),
                Replacement::OneHot => {
                    let (mut largest, total) = (0, total(row));
                    (1..k).for_each(|j| largest = if row[j] > row[largest] { j } else { largest });
                    row.fill(0.0);
                    row[largest] = total;
                }
            }
        }
        let shape = [rows.len() / k, k];
        Value::Vector(Tensor::from_data(TensorData::new(rows, shape), device))
    }
}

/// Permutes by Fisher–Yates, with a separate random stream for each seed, image and router.
fn shuffle(row: &mut [f32], seed: u64, image: usize, router: usize) {
    let mut state =
        [image as u64, router as u64].into_iter().fold(splitmix64(seed), |state, v| splitmix64(state ^ splitmix64(v)));
    for last in (1..row.len()).rev() {
        state = splitmix64(state);
        // The high bits of the product are a number below last + 1, almost uniformly distributed.
        let other = ((u128::from(state) * (last as u128 + 1)) >> 64) as usize;
        row.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_graph::{Init, RouterInit, Weights, init};
    use dyconv_models::{Options, build};

    const K: usize = 4;

    fn network(gate: Gate) -> (Network, Vec<Router>) {
        let options = Options { gate, classes: 5, image_size: [16, 16], small_stem: true, ..Options::default() };
        let graph = build("dy_resnet10_x0_125", &options).unwrap();
        let weights: Weights = init(&graph, Init { seed: 1, router: RouterInit::Large });
        let routers = routers(&graph);
        (Network::new(&graph, &weights, 1.0, &Device::flex()).unwrap(), routers)
    }

    fn images(range: std::ops::Range<usize>) -> Tensor<4> {
        let one = 3 * 16 * 16;
        let value = |i: usize| ((i * 7919 + i / one * 31) % 257) as f32 / 64.0 - 2.0;
        let data = (range.start * one..range.end * one).map(value).collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(data, [range.len(), 3, 16, 16]), &Device::flex())
    }

    /// Predictions for six images in batches of this size, and the coefficients after replacement.
    fn answers(replacement: Replacement, gate: Gate, batch: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
        let (network, routers) = network(gate);
        let mean = vec![vec![0.4, 0.3, 0.2, 0.1]; routers.len()];
        let last = vec![vec![0.1, 0.2, 0.3, 0.4]; routers.len()];
        let mut probe = Probe::new(replacement, None, 3, &routers, &mean, &last);
        let (mut out, mut seen) = (Vec::new(), vec![Vec::new(); routers.len()]);
        for start in (0..6).step_by(batch) {
            let indices: Vec<usize> = (start..start + batch).collect();
            let rows = network.forward_with(images(start..start + batch), |node, value| match probe.router(node) {
                Some(i) => {
                    let value = probe.replace(i, value.into_vec(), &indices, &Device::flex());
                    seen[i].extend(value.clone().into_vec());
                    value
                }
                None => value,
            });
            out.extend(rows.into_vec());
        }
        (out, seen)
    }

    #[test]
    fn coefficients_are_replaced_as_the_names_say() {
        let (_, seen) = answers(Replacement::Uniform, Gate::Softmax, 3);
        assert!(seen.len() == 8 && seen.iter().flatten().all(|v| *v == 0.25));
        let (_, seen) = answers(Replacement::Mean, Gate::Softmax, 3);
        assert!(seen.iter().flat_map(|s| s.chunks(K)).all(|row| row == [0.4, 0.3, 0.2, 0.1]));
        let (_, seen) = answers(Replacement::OneHot, Gate::Softmax, 3);
        for row in seen.iter().flat_map(|s| s.chunks(K)) {
            assert!(row.iter().filter(|v| **v == 1.0).count() == 1 && row.iter().sum::<f32>() == 1.0, "{row:?}");
        }
        // The first layer sees the images themselves, so its own coefficients are known.
        let (network, routers) = network(Gate::Softmax);
        let mut own = Vec::new();
        network.forward_all(images(0..6), |node, value| {
            if node.name == routers[0].name {
                own = value.clone().into_vec();
            }
        });
        let (_, seen) = answers(Replacement::AnotherImage, Gate::Softmax, 3);
        assert_eq!(seen[0][..K], [0.1, 0.2, 0.3, 0.4]);
        assert_eq!(seen[0][K..], own[..5 * K]);
        let (_, seen) = answers(Replacement::Shuffled, Gate::Softmax, 3);
        let mut moved = 0;
        for (row, own) in seen[0].chunks(K).zip(own.chunks(K)) {
            let sorted = |row: &[f32]| {
                let mut row = row.to_vec();
                row.sort_by(f32::total_cmp);
                row
            };
            assert_eq!(sorted(row), sorted(own));
            moved += usize::from(row != own);
        }
        assert!(moved >= 4, "only {moved} of six images have other coefficients");
    }

    #[test]
    fn sums_of_sigmoid_routers_are_kept() {
        let (network, routers) = network(Gate::Sigmoid);
        let mut own = Vec::new();
        network.forward_all(images(0..6), |node, value| {
            if node.name == routers[0].name {
                own = value.clone().into_vec();
            }
        });
        for replacement in [Replacement::Uniform, Replacement::OneHot, Replacement::Shuffled] {
            let (_, seen) = answers(replacement, Gate::Sigmoid, 3);
            for (row, own) in seen[0].chunks(K).zip(own.chunks(K)) {
                let (a, b) = (row.iter().sum::<f32>(), own.iter().sum::<f32>());
                assert!((a - b).abs() < 1e-6 * b, "{replacement:?}: {a} and {b}");
            }
        }
    }

    #[test]
    fn batches_of_any_size_get_the_same() {
        for replacement in REPLACEMENTS {
            let (whole, _) = answers(replacement, Gate::Softmax, 6);
            for batch in [1, 2, 3] {
                let (parts, _) = answers(replacement, Gate::Softmax, batch);
                let scale = whole.iter().fold(0f32, |m, v| m.max(v.abs()));
                let error = parts.iter().zip(&whole).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
                assert!(error < 1e-5, "{replacement:?} in batches of {batch}: {error:e} of the largest logit");
            }
        }
    }

    #[test]
    fn only_the_chosen_size_is_replaced() {
        let (network, routers) = network(Gate::Softmax);
        let sizes: Vec<_> = routers.iter().map(|r| r.size).collect();
        assert_eq!(sizes, [[16, 16], [16, 16], [16, 16], [8, 8], [8, 8], [4, 4], [4, 4], [2, 2]]);
        let given = vec![vec![0.25; K]; routers.len()];
        for size in [[16, 16], [2, 2]] {
            let probe = Probe::new(Replacement::Uniform, Some(size), 0, &routers, &given, &given);
            let mut chosen = Vec::new();
            network.graph().nodes().iter().for_each(|node| chosen.extend(probe.router(node)));
            assert_eq!(chosen.len(), sizes.iter().filter(|s| **s == size).count());
        }
    }

    #[test]
    fn permutations_are_even() {
        let mut counts = [0; 24];
        for image in 0..24_000 {
            let mut row = [0.0, 1.0, 2.0, 3.0];
            shuffle(&mut row, 5, image, 2);
            let [a, b, c, _] = row.map(|v| v as usize);
            let left = |v: usize, before: &[usize]| v - before.iter().filter(|o| **o < v).count();
            counts[a * 6 + left(b, &[a]) * 2 + left(c, &[a, b])] += 1;
        }
        // The expected standard deviation of each count is 31.
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
