//! Attention that is the same for every input.

use std::collections::BTreeMap;

use dyconv_file::Model;
use dyconv_graph::{Graph, GraphJson, Linear, NodeJson, Op, Tensor, Weights};

use crate::error::ConvertError;

/// The mean attention of each dynamic layer: K values by the name of the layer.
pub type MeanAttention = BTreeMap<String, Vec<f32>>;

/// The dynamic network with constant attention: what its frozen form must compute. Each mixture reads a linear layer
/// whose weight is zero and whose bias is the attention.
///
/// # Errors
/// [`ConvertError::Attention`] unless `attention` has K finite values for every dynamic layer, and for nothing else.
pub fn with_attention(model: &Model, attention: &MeanAttention) -> Result<(Graph, Weights), ConvertError> {
    check(&model.graph, attention)?;
    let sources: BTreeMap<&str, &str> = model
        .graph
        .mixtures()
        .map(|(layer, mix)| (layer.name.as_str(), model.graph.node(mix.attention).name.as_str()))
        .collect();
    let mut weights = model.weights.clone();
    let mut json = GraphJson::from(&model.graph);
    let mut nodes = Vec::with_capacity(json.nodes.len());
    for mut node in json.nodes {
        if let (Some(values), Some(source)) = (attention.get(&node.name), sources.get(node.name.as_str())) {
            let kernels = values.len();
            let name = format!("{}.fixed_attention", node.name);
            node.inputs.iter_mut().filter(|input| input == source).for_each(|input| input.clone_from(&name));
            weights.0.insert(format!("{name}.weight"), Tensor::full(&[kernels, kernels], 0.0));
            weights.0.insert(format!("{name}.bias"), Tensor::new(&[kernels], values.clone()));
            let op = Op::Linear(Linear { out_features: kernels, bias: true });
            nodes.push(NodeJson { name, op, inputs: vec![(*source).to_owned()] });
        }
        nodes.push(node);
    }
    json.nodes = nodes;
    Ok((json.try_into()?, weights))
}

/// Checks that every dynamic layer has its attention, and nothing else has.
fn check(graph: &Graph, attention: &MeanAttention) -> Result<(), ConvertError> {
    let wrong = |layer: &str, message: String| Err(ConvertError::Attention { layer: layer.to_owned(), message });
    for (layer, mix) in graph.mixtures() {
        match attention.get(&layer.name) {
            None => return wrong(&layer.name, "is missing".into()),
            Some(values) if values.len() != mix.kernels => {
                return wrong(&layer.name, format!("has {} values, expected {}", values.len(), mix.kernels));
            }
            Some(values) if values.iter().any(|v| !v.is_finite()) => {
                return wrong(&layer.name, format!("has a value that is not finite: {values:?}"));
            }
            Some(_) => {}
        }
    }
    let is_dynamic = |name: &str| graph.mixtures().any(|(layer, _)| layer.name == name);
    match attention.keys().find(|name| !is_dynamic(name)) {
        Some(name) => wrong(name, "there is no such dynamic layer".into()),
        None => Ok(()),
    }
}
