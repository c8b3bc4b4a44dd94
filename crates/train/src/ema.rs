//! An exponential moving average of the weights, which often generalizes better than the weights themselves.

use burn::tensor::{Device, Tensor};
use dyconv_graph::{Graph, Tensor as Stored, Weights};
use dyconv_nn::Network;

use crate::checkpoint::Tensors;
use crate::optimizer::{loaded, stored};

/// Name of the update counter in a saved state.
const UPDATES: &str = "updates";
/// The counter stops here, where f32 is still exact and the warm-up of any decay is over.
const MOST_UPDATES: u32 = 1 << 24;

/// Moving average of every tensor of a network, running statistics included: a ← d · a + (1 − d) · w after each step,
/// where d = min(decay, (1 + t) / (10 + t)), so that the first weights are soon forgotten.
#[derive(Debug)]
pub(crate) struct Ema {
    decay: f64,
    updates: u32,
    average: Vec<Tensor<1>>,
}

impl Ema {
    pub fn new(decay: f64, network: &Network) -> Self {
        Self { decay, updates: 0, average: network.tensors() }
    }

    /// Updates the average with the weights after a step.
    pub fn update(&mut self, network: &Network) {
        let t = f64::from(self.updates);
        let decay = self.decay.min((1.0 + t) / (10.0 + t));
        let old = std::mem::take(&mut self.average).into_iter();
        self.average =
            old.zip(network.tensors()).map(|(a, w)| a.mul_scalar(decay) + w.mul_scalar(1.0 - decay)).collect();
        self.updates = (self.updates + 1).min(MOST_UPDATES);
    }

    /// The average as weights of the graph.
    pub fn weights(&self, graph: &Graph) -> Weights {
        let tensors = graph.parameters().into_iter().zip(&self.average);
        Weights(tensors.map(|(p, t)| (p.name, Stored::new(&p.shape, stored(t.clone()).data))).collect())
    }

    /// The state by parameter.
    pub fn state(&self, graph: &Graph) -> Tensors {
        let mut state = self.weights(graph).0;
        state.insert(UPDATES.into(), Stored::full(&[1], self.updates as f32));
        state
    }

    /// Restores a saved state; a tensor that is missing in it is left unchanged.
    pub fn load(&mut self, mut state: Tensors, graph: &Graph, device: &Device) {
        for (parameter, average) in graph.parameters().into_iter().zip(&mut self.average) {
            if let Some(saved) = state.remove(&parameter.name) {
                *average = loaded(saved, device);
            }
        }
        self.updates = state.get(UPDATES).map_or(0, |t| t.data[0] as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_graph::{Init, init};
    use dyconv_models::{Options, build};

    #[test]
    fn the_average_warms_up_and_survives_saving() {
        let options = Options { classes: 3, image_size: [8, 8], small_stem: true, ..Options::default() };
        let graph = build("resnet10_x0_125", &options).unwrap();
        let device = Device::flex();
        let network =
            |seed| Network::new(&graph, &init(&graph, Init { seed, ..Init::default() }), 1.0, &device).unwrap();
        let at = |w: &Weights| w.get("stem.weight").data[3];
        let mut ema = Ema::new(0.15, &network(0));
        let mut expected = at(&network(0).weights());
        // 1/10; then 2/11, limited to 0.15; then 0.15.
        for (seed, decay) in [(1, 0.1), (2, 0.15), (3, 0.15)] {
            let mut saved = Ema::new(0.15, &network(9));
            saved.load(ema.state(&graph), &graph, &device);
            assert_eq!(saved.weights(&graph), ema.weights(&graph));
            ema.update(&network(seed));
            saved.update(&network(seed));
            assert_eq!(saved.weights(&graph), ema.weights(&graph));
            expected = decay * expected + (1.0 - decay) * at(&network(seed).weights());
            assert!((at(&ema.weights(&graph)) - expected).abs() < 1e-6);
        }
        ema.weights(&graph).check(&graph).unwrap();
    }
}
