//! Where a NaN or an infinity comes from.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use dyconv_graph::Weights;
use dyconv_nn::{Network, Value};

fn finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

/// A sentence about the gradients that are not finite, or `None`.
///
/// Backpropagation begins at the network's end, so what went wrong first stands last in the order of the graph.
pub(crate) fn gradients(network: &Network, gradients: &GradientsParams) -> Option<String> {
    let mut look = Look { gradients, position: 0, bad: Vec::new() };
    network.visit(&mut look);
    let (first, last) = (*look.bad.first()?, *look.bad.last()?);
    let parameters = network.graph().parameters();
    let (first, last) = (&parameters[first].name, &parameters[last].name);
    Some(format!(
        "The first gradient that is not finite is that of `{first}`; backpropagation met the first at `{last}`"
    ))
}

struct Look<'a> {
    gradients: &'a GradientsParams,
    /// Place among the graph's parameters, which Burn visits in their order.
    position: usize,
    bad: Vec<usize>,
}

impl ModuleVisitor for Look<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(parameter.id) {
            // A sum is not finite if a summand is not; that it alone overflows is ruled out by a second look.
            if !gradient.clone().sum().into_scalar::<f32>().is_finite() {
                let values = gradient.into_data().try_into_vec::<f32>().expect("gradients are f32");
                if !finite(&values) {
                    self.bad.push(self.position);
                }
            }
        }
        self.position += 1;
    }
}

/// A sentence about the first weight that is not finite, in the order of the graph, or `None`.
pub(crate) fn weights(network: &Network, weights: &Weights) -> Option<String> {
    let parameters = network.graph().parameters();
    let bad = parameters.iter().find(|p| weights.0.get(&p.name).is_some_and(|t| !finite(&t.data)))?;
    Some(format!("The first weight that is not finite is in `{}`", bad.name))
}

/// A sentence about the first weight or activation, in the order of the graph, that is not finite.
pub(crate) fn origin(network: &Network, images: Tensor<4>) -> String {
    if let Some(weights) = weights(network, &network.weights()) {
        return weights;
    }
    let mut first = None;
    network.forward_all(images, |node, value: &Value| {
        if first.is_none() && !finite(&value.clone().into_vec()) {
            first = Some(node.name.clone());
        }
    });
    match first {
        Some(name) => format!("The first value that is not finite comes out of `{name}`"),
        None => "All weights and values of the network are finite; the loss itself overflows".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};
    use dyconv_graph::{Init, init};
    use dyconv_models::{Options, build};

    fn network(change: impl FnOnce(&mut dyconv_graph::Weights)) -> Network {
        let options = Options { classes: 3, image_size: [8, 8], small_stem: true, ..Options::default() };
        let graph = build("dy_resnet10_x0_125", &options).unwrap();
        let mut weights = init(&graph, Init::default());
        change(&mut weights);
        Network::new(&graph, &weights, 1.0, &Device::flex().autodiff()).unwrap()
    }

    fn images() -> Tensor<4> {
        Tensor::random([2, 3, 8, 8], Distribution::Default, &Device::flex().autodiff())
    }

    #[test]
    fn the_first_activation_and_gradient_that_are_not_finite_are_named() {
        let whole = network(|_| ());
        assert!(origin(&whole, images()).contains("All weights"));
        // Finite weights, but sums beyond f32.
        let burst = network(|w| w.0.get_mut("layer2.0.conv1.weight").unwrap().data.fill(f32::MAX));
        assert!(origin(&burst, images()).contains("comes out of `layer2.0.conv1`"), "{}", origin(&burst, images()));
        let sum = |network: &Network| match network.forward(images()) {
            Value::Vector(logits) => GradientsParams::from_grads(logits.sum().backward(), network),
            Value::Map(_) => unreachable!(),
        };
        assert_eq!(gradients(&whole, &sum(&whole)), None);
        let said = gradients(&burst, &sum(&burst)).unwrap();
        assert!(said.contains("that of `stem."), "{said}");
    }
}
