//! Statistics of a network's routers over images: which kernels they use, and whether they depend on the image at all.

use std::collections::BTreeSet;

use dyconv_graph::{Graph, Node};
use dyconv_nn::Value;
use serde::{Deserialize, Serialize};

/// A kernel whose share of the attention is less than this fraction of an equal share (1/K) is dead.
const DEAD: f64 = 0.02;
/// A router whose coefficients deviate less than this between images does not depend on them.
const CONSTANT: f64 = 0.003;
/// Attention with more than this fraction of the maximum entropy is uniform.
const UNIFORM: f64 = 0.999;
/// Largest number of layers that a warning names.
const NAMED: usize = 4;

/// Statistics of every dynamic layer over some images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionStats {
    /// Number of images.
    pub images: usize,
    /// In execution order.
    pub layers: Vec<LayerAttentionStats>,
}

/// Statistics of one dynamic layer. Entropy and usage are computed from the coefficients divided by their sum, which is
/// 1 for softmax routers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerAttentionStats {
    /// Name of the node.
    pub layer: String,
    /// Mean entropy over images as a fraction of ln K: 0 if one kernel is used alone, 1 if all are used equally.
    pub entropy: f64,
    /// Standard deviation of a coefficient over images, averaged over kernels.
    pub deviation: f64,
    /// Mean over images of the largest coefficient.
    pub largest: f64,
    /// Mean attention by kernel; the sum is 1.
    pub usage: Vec<f64>,
    /// Fraction of images for which each kernel has the largest coefficient; the sum is 1.
    pub winners: Vec<f64>,
}

/// Accumulates the coefficients of a network's routers.
#[derive(Debug)]
pub(crate) struct AttentionMeter {
    images: usize,
    layers: Vec<Sums>,
}

#[derive(Debug)]
struct Sums {
    layer: String,
    /// Node whose value is the coefficients.
    router: String,
    entropy: f64,
    largest: f64,
    /// By kernel: sum and sum of squares of coefficients, sum of shares, images won.
    kernels: Vec<[f64; 4]>,
}

impl AttentionMeter {
    pub fn new(graph: &Graph) -> Self {
        let layers = graph.mixtures().map(|(node, mixture)| Sums {
            layer: node.name.clone(),
            router: graph.node(mixture.attention).name.clone(),
            entropy: 0.0,
            largest: 0.0,
            kernels: vec![[0.0; 4]; mixture.kernels],
        });
        Self { images: 0, layers: layers.collect() }
    }

    /// Callback for [`dyconv_nn::Network::forward_all`].
    pub fn visit(&mut self, node: &Node, value: &Value) {
        for layer in self.layers.iter_mut().filter(|l| l.router == node.name) {
            let coefficients = value.clone().into_vec();
            coefficients.chunks_exact(layer.kernels.len()).for_each(|pi| layer.add(pi));
        }
    }

    /// Reports that a batch of this many images has passed.
    pub fn passed(&mut self, images: usize) {
        self.images += images;
    }

    /// Mean coefficients by layer.
    pub fn means(&self) -> Vec<Vec<f32>> {
        let of = |layer: &Sums| layer.kernels.iter().map(|sums| (sums[0] / self.images as f64) as f32).collect();
        self.layers.iter().map(of).collect()
    }

    /// The statistics, or `None` for a static network or without images.
    pub fn finish(self) -> Option<AttentionStats> {
        let images = self.images;
        if images == 0 || self.layers.is_empty() {
            return None;
        }
        let layers = self.layers.into_iter().map(|layer| layer.finish(images as f64)).collect();
        Some(AttentionStats { images, layers })
    }
}

/// Entropy of coefficients divided by their sum, as a fraction of ln K; 1 if K is 1.
pub(crate) fn entropy(pi: &[f32]) -> f64 {
    if pi.len() < 2 {
        return 1.0;
    }
    let total: f64 = pi.iter().map(|p| f64::from(*p)).sum::<f64>().max(f64::MIN_POSITIVE);
    let shares = pi.iter().map(|p| f64::from(*p) / total).filter(|share| *share > 0.0);
    -shares.map(|share| share * share.ln()).sum::<f64>() / (pi.len() as f64).ln()
}

impl Sums {
    fn add(&mut self, pi: &[f32]) {
        let total: f64 = pi.iter().map(|p| f64::from(*p)).sum::<f64>().max(f64::MIN_POSITIVE);
        let mut winner = 0;
        for (k, (p, sums)) in pi.iter().zip(&mut self.kernels).enumerate() {
            let (p, share) = (f64::from(*p), f64::from(*p) / total);
            sums[0] += p;
            sums[1] += p * p;
            sums[2] += share;
            if pi[k] > pi[winner] {
                winner = k;
            }
        }
        self.entropy += entropy(pi);
        self.kernels[winner][3] += 1.0;
        self.largest += f64::from(pi[winner]);
    }

    fn finish(self, images: f64) -> LayerAttentionStats {
        let count = self.kernels.len() as f64;
        let deviation = |s: &[f64; 4]| (s[1] / images - (s[0] / images).powi(2)).max(0.0).sqrt();
        LayerAttentionStats {
            layer: self.layer,
            entropy: self.entropy / images,
            deviation: self.kernels.iter().map(deviation).sum::<f64>() / count,
            largest: self.largest / images,
            usage: self.kernels.iter().map(|s| s[2] / images).collect(),
            winners: self.kernels.iter().map(|s| s[3] / images).collect(),
        }
    }
}

impl LayerAttentionStats {
    /// Whether attention is uniform: the layer acts as a static one.
    pub(crate) fn is_uniform(&self) -> bool {
        self.entropy > UNIFORM
    }

    /// Whether attention is the same for every image, but not uniform.
    pub(crate) fn is_constant(&self) -> bool {
        self.deviation < CONSTANT && !self.is_uniform()
    }
}

impl AttentionStats {
    /// Entropy as a fraction of ln K, averaged over layers.
    pub fn entropy(&self) -> f64 {
        self.layers.iter().map(|l| l.entropy).sum::<f64>() / self.layers.len() as f64
    }

    /// Warnings as text. `settled` says that the schedule of τ has ended: before that, attention is uniform on purpose.
    /// Warnings that are in `reported` are skipped, new ones are inserted into it.
    pub(crate) fn warnings(&self, settled: bool, reported: &mut BTreeSet<String>) -> Vec<String> {
        let mut fresh = |kind: &str, test: &dyn Fn(&LayerAttentionStats) -> bool| -> Option<String> {
            let bad = self.layers.iter().filter(|l| test(l)).map(|l| l.layer.as_str());
            let bad: Vec<&str> = bad.filter(|layer| reported.insert(format!("{kind} {layer}"))).collect();
            let more = if bad.len() > NAMED { ", …" } else { "" };
            let names = bad.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ") + more;
            (!bad.is_empty()).then(|| format!("{} of {} dynamic layers ({names})", bad.len(), self.layers.len()))
        };
        let uniform = |l: &LayerAttentionStats| settled && l.is_uniform();
        let constant = |l: &LayerAttentionStats| settled && l.is_constant();
        let dead = |l: &LayerAttentionStats| l.usage.iter().any(|u| *u < DEAD / l.usage.len() as f64);
        let mut all = Vec::new();
        all.extend(fresh("uniform", &uniform).map(|layers| {
            format!("attention has not left uniform in {layers}: they act as static layers with more weights")
        }));
        all.extend(
            fresh("constant", &constant)
                .map(|layers| format!("the router gives every image the same attention in {layers}")),
        );
        all.extend(fresh("dead", &dead).map(|layers| {
            format!(
                "a kernel gets next to no attention in {layers}; a higher or longer temperature keeps kernels alive"
            )
        }));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor, TensorData};
    use dyconv_models::{Options, build};

    /// Statistics of one layer with K = 4, from the coefficients of each image.
    fn stats(rows: &[[f32; 4]]) -> AttentionStats {
        let options = Options { image_size: [8, 8], small_stem: true, ..Options::default() };
        let graph = build("dy_resnet10_x0_125", &options).unwrap();
        let mut meter = AttentionMeter::new(&graph);
        assert_eq!(meter.layers.len(), 8);
        meter.layers.truncate(1);
        let node = graph.nodes().iter().find(|n| n.name == "layer1.0.conv1.router.softmax").unwrap();
        // In batches of two.
        for rows in rows.chunks(2) {
            let data = TensorData::new(rows.concat(), [rows.len(), 4]);
            meter.visit(node, &Value::Vector(Tensor::from_data(data, &Device::flex())));
            meter.passed(rows.len());
        }
        meter.finish().unwrap()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }

    #[test]
    fn numbers_are_as_by_hand() {
        let stats = stats(&[[0.7, 0.1, 0.1, 0.1], [0.25; 4], [0.0, 0.0, 1.0, 0.0]]);
        let layer = &stats.layers[0];
        assert_eq!((stats.images, layer.layer.as_str()), (3, "layer1.0.conv1"));
        let first = -(0.7 * 0.7f64.ln() + 0.3 * 0.1f64.ln()) / 4f64.ln();
        close(layer.entropy, (first + 1.0) / 3.0);
        close(layer.largest, (0.7 + 0.25 + 1.0) / 3.0);
        for (found, expected) in layer.usage.iter().zip([0.95, 0.35, 1.35, 0.35]) {
            close(*found, expected / 3.0);
        }
        close(layer.winners[0], 2.0 / 3.0);
        close(layer.winners[2], 1.0 / 3.0);
        let deviation = |v: [f64; 3]| {
            let mean = v.iter().sum::<f64>() / 3.0;
            (v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0).sqrt()
        };
        let columns = [[0.7, 0.25, 0.0], [0.1, 0.25, 0.0], [0.1, 0.25, 1.0], [0.1, 0.25, 0.0]];
        close(layer.deviation, columns.map(deviation).iter().sum::<f64>() / 4.0);
        close(stats.entropy(), layer.entropy);
    }

    #[test]
    fn what_is_wrong_is_reported_once() {
        let say = |rows: &[[f32; 4]], settled| {
            let mut reported = BTreeSet::new();
            let said = stats(rows).warnings(settled, &mut reported);
            assert!(stats(rows).warnings(settled, &mut reported).is_empty(), "reported twice");
            said
        };
        let healthy = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]];
        assert!(say(&healthy, true).is_empty());
        let uniform = [[0.25, 0.25, 0.251, 0.249], [0.25; 4]];
        assert!(say(&uniform, false).is_empty());
        let said = say(&uniform, true);
        assert!(said.len() == 1 && said[0].contains("not left uniform in 1 of 1 dynamic layers (layer1.0.conv1)"));
        let said = say(&[[0.4, 0.2, 0.2, 0.2], [0.401, 0.2, 0.2, 0.199]], true);
        assert!(said.len() == 1 && said[0].contains("every image the same attention"), "{said:?}");
        let said = say(&[[0.5, 0.3, 0.2, 0.0], [0.2, 0.3, 0.495, 0.005]], false);
        assert!(said.len() == 1 && said[0].contains("next to no attention"), "{said:?}");
    }

    #[test]
    fn static_networks_have_none() {
        let graph = build("resnet10_x0_125", &Options { image_size: [32, 32], ..Options::default() }).unwrap();
        let mut meter = AttentionMeter::new(&graph);
        meter.passed(3);
        assert!(meter.finish().is_none());
    }
}
