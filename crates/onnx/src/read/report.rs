//! What was understood of a file.

use std::collections::BTreeMap;

use dyconv_graph::{Graph, Op};
use serde::{Deserialize, Serialize};

/// What was understood of an ONNX file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the operator set.
    pub opset: i64,
    /// Version of the file format.
    pub ir_version: i64,
    /// The program that wrote the file.
    pub producer: String,
    /// Name of the input in the file.
    pub input: String,
    /// Shape `[C, H, W]` of one sample of the input.
    pub shape: [usize; 3],
    /// Whether the file's input is `[N, H, W, C]` of unsigned bytes; the graph's input then is the same numbers, 0 to 255,
    /// as `[N, C, H, W]`.
    pub bytes: bool,
    /// Shape of one sample of the output: `[C]` or `[C, H, W]`.
    pub output: Vec<usize>,
    /// What the file computes of the graph's output.
    pub ending: Ending,
    /// Number of nodes in the file.
    pub nodes: usize,
    /// What has no node of its own in the graph, and how often it was met: constants, identities, affine maps.
    pub folded: BTreeMap<String, usize>,
    /// The dynamic layers that were recognised.
    pub dynamic: Vec<DynamicLayer>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What a file computes of the last values, and the graph leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Nothing: they are its output.
    #[default]
    Values,
    /// Their softmax.
    Softmax,
    /// The logarithm of their softmax.
    LogSoftmax,
}

/// A dynamic layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicLayer {
    /// Name of its node in the graph.
    pub name: String,
    /// Number K of kernels.
    pub kernels: usize,
    /// Whether it is a convolution; else it is a linear layer.
    pub convolution: bool,
}

/// The dynamic layers of a graph.
pub(super) fn dynamic_layers(graph: &Graph) -> Vec<DynamicLayer> {
    let layers = graph.mixtures().map(|(node, mixture)| DynamicLayer {
        name: node.name.clone(),
        kernels: mixture.kernels,
        convolution: matches!(node.op, Op::MixConv(_)),
    });
    layers.collect()
}
