//! Finds the origin of a NaN or an infinity.

use burn::tensor::Tensor;
use dyconv_graph::Weights;
use dyconv_nn::{Gradients, Network, Value};

/// A number that is not finite, and its origin.
#[derive(Debug)]
pub(crate) struct NonFinite {
    pub what: String,
    pub origin: String,
}

fn finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

/// A message about the gradients, at least one of which, or their norm, is not finite.
///
/// Backpropagation starts at the end of the network, so the first failure is the last one in graph order.
pub(crate) fn gradients(network: &Network, gradients: &Gradients) -> String {
    let trained = network.trained();
    let bad = trained.iter().zip(&gradients.0).filter(|(_, gradient)| {
        gradient.as_ref().is_some_and(|g| !finite(&g.clone().into_data().try_into_vec().expect("gradients are f32")))
    });
    let bad: Vec<&str> = bad.map(|(trained, _)| trained.name.as_str()).collect();
    match (bad.first(), bad.last()) {
        (Some(first), Some(last)) => format!(
            "The first gradient that is not finite is that of `{first}`; backpropagation met the first at `{last}`"
        ),
        _ => "All gradients are finite; their norm overflows".into(),
    }
}

/// A message about the first weight in graph order that is not finite, or `None`.
pub(crate) fn weights(network: &Network, weights: &Weights) -> Option<String> {
    let parameters = network.graph().parameters();
    let bad = parameters.iter().find(|p| weights.0.get(&p.name).is_some_and(|t| !finite(&t.data)))?;
    Some(format!("The first weight that is not finite is in `{}`", bad.name))
}

/// A message about the first weight or activation in graph order that is not finite.
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
        // Finite weights, but sums that overflow f32.
        let burst = network(|w| w.0.get_mut("layer2.0.conv1.weight").unwrap().data.fill(f32::MAX));
        assert!(origin(&burst, images()).contains("comes out of `layer2.0.conv1`"), "{}", origin(&burst, images()));
        let sum = |network: &Network| match network.forward(images()) {
            Value::Vector(logits) => network.gradients(&logits.sum()),
            Value::Map(_) => unreachable!(),
        };
        assert!(sum(&whole).norm().is_finite() && !sum(&burst).norm().is_finite());
        assert!(gradients(&whole, &sum(&whole)).contains("All gradients"));
        let said = gradients(&burst, &sum(&burst));
        assert!(said.contains("that of `stem."), "{said}");
    }
}
