//! The tensors of a network as flat lists, for optimizers and weight averages.

use burn::tensor::Tensor;
use dyconv_graph::Op;

use crate::layer::Layer;
use crate::network::Network;

/// A tensor that training changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trained {
    /// `<node>.<parameter>`, as in the model file.
    pub name: String,
    /// Whether it is a bias or belongs to a batch norm; many recipes exempt these from weight decay.
    pub norm_or_bias: bool,
}

/// Gradients in the order of [`Network::trained`], each flat; `None` for tensors that are frozen or have no influence.
#[derive(Debug, Clone)]
pub struct Gradients(pub Vec<Option<Tensor<1>>>);

impl Gradients {
    /// Adds the gradients of another part of the batch.
    ///
    /// # Panics
    /// If they belong to another network.
    #[must_use]
    pub fn plus(self, other: Gradients) -> Self {
        assert_eq!(self.0.len(), other.0.len(), "gradients of one network");
        let both = self.0.into_iter().zip(other.0).map(|pair| match pair {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        });
        Self(both.collect())
    }

    /// Multiplies all gradients by a factor.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self(self.0.into_iter().map(|g| g.map(|g| g.mul_scalar(factor))).collect())
    }

    /// The Euclidean norm of all gradients together; not finite if one of them is not.
    pub fn norm(&self) -> f64 {
        self.0
            .iter()
            .flatten()
            .map(sum_of_squares)
            .reduce(|a, b| a + b)
            .map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()).sqrt())
    }
}

/// Sums in pieces, because the order in which Burn sums long tensors depends on the timing of its threads.
fn sum_of_squares(values: &Tensor<1>) -> Tensor<1> {
    const PIECE: usize = 1 << 20;
    let n = values.dims()[0];
    let piece = |start: usize| values.clone().narrow(0, start, PIECE.min(n - start)).square().sum();
    (0..n).step_by(PIECE).map(piece).reduce(|a, b| a + b).expect("a tensor has elements")
}

impl Network {
    /// The tensors that training changes, in execution order.
    pub fn trained(&self) -> Vec<Trained> {
        let graph = self.graph();
        let trained = graph.parameters().into_iter().filter(|p| p.trained);
        let norm = |node| matches!(graph.node(node).op, Op::BatchNorm { .. });
        trained.map(|p| Trained { norm_or_bias: norm(p.node) || p.name.ends_with(".bias"), name: p.name }).collect()
    }

    /// Gradients of a one-element loss that was computed with this network.
    pub fn gradients(&self, loss: &Tensor<1>) -> Gradients {
        let mut gradients = loss.backward();
        Gradients(self.layers.iter().flat_map(|layer| layer.gradients(&mut gradients)).collect())
    }

    /// Replaces each trained tensor: `change` is called in the order of [`Network::trained`] with the position and the
    /// value, flat and without gradient, and returns the new value, or `None` to keep the old one.
    #[must_use]
    pub fn update(mut self, mut change: impl FnMut(usize, Tensor<1>) -> Option<Tensor<1>>) -> Self {
        let mut position = 0;
        let mut change = |value| {
            position += 1;
            change(position - 1, value)
        };
        self.layers = self.layers.into_iter().map(|layer| layer.update(&mut change)).collect();
        self
    }

    /// All tensors, including running statistics, flat and without gradient, in the order of
    /// [`Graph::parameters`](dyconv_graph::Graph::parameters).
    pub fn tensors(&self) -> Vec<Tensor<1>> {
        self.layers.iter().flat_map(Layer::tensors).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use burn::module::Module;
    use burn::tensor::{Device, Distribution};
    use dyconv_graph::{Graph, Init, init};
    use dyconv_models::{Options, build};

    fn network() -> (Graph, Network) {
        let options = Options { classes: 3, image_size: [32, 32], small_stem: true, ..Options::default() };
        let graph = build("dy_mobilenet_v3_small_x0_25", &options).unwrap();
        let weights = init(&graph, Init::default());
        let network = Network::new(&graph, &weights, 1.0, &Device::flex().autodiff()).unwrap();
        (graph, network)
    }

    fn loss(network: &Network) -> Tensor<1> {
        let device = Device::flex().autodiff();
        device.seed(3);
        match network.forward(Tensor::random([2, 3, 32, 32], Distribution::Default, &device)) {
            Value::Vector(logits) => logits.square().sum(),
            Value::Map(_) => unreachable!("a classifier"),
        }
    }

    #[test]
    fn flat_tensors_have_the_names_of_the_graph() {
        let (graph, network) = network();
        let weights = network.weights();
        let parameters = graph.parameters();
        let tensors = network.tensors();
        assert_eq!(tensors.len(), parameters.len());
        for (parameter, tensor) in parameters.iter().zip(tensors) {
            let values: Vec<f32> = tensor.into_data().try_into_vec().unwrap();
            assert_eq!(values, weights.get(&parameter.name).data, "{}", parameter.name);
        }
        let trained = network.trained();
        let find = |name: &str| trained.iter().find(|t| t.name == name).map(|t| t.norm_or_bias);
        assert_eq!(find("stem.weight"), Some(false));
        assert_eq!(find("stem.bn.weight"), Some(true));
        assert_eq!(find("classifier.bias"), Some(true));
        assert_eq!(find("stem.bn.running_mean"), None);
    }

    #[test]
    fn an_update_reaches_each_tensor_in_order_and_keeps_gradients_flowing() {
        let (_, network) = network();
        let before = network.weights();
        let names: Vec<String> = network.trained().into_iter().map(|t| t.name).collect();
        let after = network.update(|i, value| (i % 2 == 0).then(|| value.add_scalar(i as f32)));
        for (i, name) in names.iter().enumerate() {
            let (old, new) = (before.get(name), after.weights());
            let shift = if i % 2 == 0 { i as f32 } else { 0.0 };
            let expected: Vec<f32> = old.data.iter().map(|v| v + shift).collect();
            assert_eq!((&new.get(name).data, &new.get(name).shape), (&expected, &old.shape), "{name}");
        }
        assert!(after.gradients(&loss(&after)).0.iter().all(Option::is_some));
    }

    #[test]
    fn norms_and_sums_are_those_of_all_tensors_together() {
        let device = Device::flex();
        let of = |values: &[f32]| Some(Tensor::<1>::from_floats(values, &device));
        let one = Gradients(vec![of(&[1.0, 2.0]), None, of(&[2.0])]);
        assert_eq!(one.norm(), 3.0);
        let sum = one.clone().plus(Gradients(vec![of(&[0.0, 1.0]), of(&[4.0]), None])).scale(2.0);
        let values: Vec<f32> =
            sum.0.into_iter().flatten().flat_map(|t| t.into_data().try_into_vec().unwrap()).collect();
        assert_eq!(values, [2.0, 6.0, 8.0, 4.0]);
        assert!(Gradients(vec![None, of(&[1.0]), of(&[0.0, f32::NAN])]).norm().is_nan());
    }

    #[test]
    fn what_is_frozen_has_no_gradient_and_keeps_its_statistics() {
        let (graph, network) = network();
        let network = network.freeze(|name| name.starts_with("stem") || name.starts_with("blocks.0."));
        let before = network.weights();
        let gradients = network.gradients(&loss(&network));
        for (trained, gradient) in network.trained().iter().zip(&gradients.0) {
            let frozen = trained.name.starts_with("stem") || trained.name.starts_with("blocks.0.");
            assert_eq!(gradient.is_none(), frozen, "{}", trained.name);
        }
        let after = network.weights();
        for parameter in graph.parameters().iter().filter(|p| !p.trained) {
            let frozen = parameter.name.starts_with("stem") || parameter.name.starts_with("blocks.0.");
            assert_eq!(before.get(&parameter.name) == after.get(&parameter.name), frozen, "{}", parameter.name);
        }
        // In evaluation the results are the same.
        let x = Tensor::<4>::ones([1, 3, 32, 32], &Device::flex());
        let thawed = Network::new(&graph, &after, 1.0, &Device::flex()).unwrap();
        assert_eq!(network.valid().forward(x.clone()).into_vec(), thawed.forward(x).into_vec());
    }
}
