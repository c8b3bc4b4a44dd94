//! The attention of dynamic layers, as computed by the engine.

use std::collections::HashMap;

use dyconv_graph::Graph;

/// The mixing coefficients of a dynamic layer for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerAttention {
    /// Name of the layer: the node with the mixture.
    pub layer: String,
    /// π, one coefficient per kernel of the bank, `[K]`. With a softmax gate they sum to one.
    pub kernels: Vec<f32>,
}

/// Locates the attention of a network's layers.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// Names of the dynamic layers, in the order of the graph, each with the node that computes its coefficients.
    layers: Vec<(String, String)>,
}

impl Attention {
    pub(crate) fn of(graph: &Graph) -> Self {
        let names = graph.mixtures().map(|(node, mix)| (node.name.clone(), graph.node(mix.attention).name.clone()));
        Self { layers: names.collect() }
    }

    /// Starts collecting the coefficients of one run.
    pub(crate) fn collect(&self) -> Collected<'_> {
        let places = self.layers.iter().map(|(_, source)| (source.as_str(), Vec::new()));
        Collected { attention: self, values: places.collect() }
    }
}

/// The coefficients of one run.
pub(crate) struct Collected<'a> {
    attention: &'a Attention,
    values: HashMap<&'a str, Vec<f32>>,
}

impl Collected<'_> {
    /// Records the value of a node.
    pub(crate) fn see(&mut self, node: &str, value: &[f32]) {
        if let Some(place) = self.values.get_mut(node) {
            *place = value.to_vec();
        }
    }

    pub(crate) fn finish(self) -> Vec<LayerAttention> {
        let layer = |(layer, source): &(String, String)| LayerAttention {
            layer: layer.clone(),
            kernels: self.values[source.as_str()].clone(),
        };
        self.attention.layers.iter().map(layer).collect()
    }
}
