//! A network becomes a state dict of PyTorch in a `.safetensors` file.

use std::collections::{BTreeMap, BTreeSet};

use dyconv_graph::{Graph, NodeId, Op, Parameter, TensorSource, WeightsError};
use dyconv_models::ModelName;

use crate::dialects::{Bank, Dialect, Form, Layout, kaijieshi7, timm, torchvision};
use crate::error::TorchError;
use crate::read::{ARCH, GRAPH};

/// Whose names an exported state dict has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// torchvision's.
    Torchvision,
    /// timm's.
    Timm,
}

impl Names {
    fn dialect(self) -> &'static Dialect {
        match self {
            Names::Torchvision => &torchvision::TORCHVISION,
            Names::Timm => &timm::TIMM,
        }
    }
}

/// The bytes of a `.safetensors` file with the weights of a network under PyTorch's names; equal networks give equal
/// bytes. `tau` is the temperature of the routers, `arch` our name of the architecture, as in a model file's provenance.
///
/// Dynamic layers are stored as a bank `weight` `[K, o, i, h, w]`, a router of two 1×1 convolutions `attention.fc1` and
/// `attention.fc2`, and the scalar `attention.tau` if its gate is a softmax. The metadata has the graph, so that what is read again is the same network.
///
/// # Errors
/// If the architecture is unknown, or the weights do not belong to the graph.
pub fn export(
    graph: &Graph,
    weights: &dyn TensorSource,
    tau: f32,
    arch: &str,
    names: Names,
) -> Result<Vec<u8>, TorchError> {
    let name: ModelName = arch.parse()?;
    weights.check_shapes(graph)?;
    let layout = Layout::new(name.family.name, graph);
    let bank: &Bank = &kaijieshi7::BANK;
    let mut tensors = BTreeMap::new();
    let mut insert = |name: String, tensor: Exported| match tensors.insert(name.clone(), tensor) {
        None => Ok(()),
        Some(_) => Err(TorchError::Unrecognized(format!("two tensors would be called `{name}`"))),
    };
    let scores = softmax_inputs(graph);
    for parameter in graph.parameters() {
        let node = graph.node(parameter.node);
        let suffix = &parameter.name[node.name.len() + 1..];
        let foreign = names.dialect().foreign(&layout, node, suffix, bank);
        let foreign = foreign.ok_or_else(|| WeightsError::Unknown(parameter.name.clone()))?;
        if scores.contains(&parameter.node)
            && let Some(name) = bank.temperature(&foreign.name)
        {
            insert(name, Exported::Temperature)?;
        }
        insert(foreign.name, Exported::Parameter(parameter, foreign.form))?;
    }
    let mut header = serde_json::Map::new();
    let graph_json = serde_json::to_string(graph).map_err(|e| TorchError::Unrecognized(e.to_string()))?;
    header.insert("__metadata__".into(), serde_json::json!({ "format": "pt", ARCH: arch, GRAPH: graph_json }));
    let mut end = 0;
    for (name, tensor) in &tensors {
        let shape = tensor.shape();
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        header
            .insert(name.clone(), serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }));
    }
    let mut json = serde_json::Value::Object(header).to_string();
    while !json.len().is_multiple_of(8) {
        json.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + json.len() + end);
    bytes.extend((json.len() as u64).to_le_bytes());
    bytes.extend(json.as_bytes());
    let mut values = Vec::new();
    for tensor in tensors.values() {
        let Exported::Parameter(parameter, form) = tensor else {
            bytes.extend(tau.to_le_bytes());
            continue;
        };
        weights.read(&parameter.name, &mut values)?;
        for value in form.values_out(&parameter.shape, &values) {
            bytes.extend(value.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// A tensor of the file.
enum Exported {
    Parameter(Parameter, Form),
    /// Of the softmax of a router, a scalar.
    Temperature,
}

impl Exported {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Parameter(parameter, form) => form.shape(&parameter.shape),
            Self::Temperature => Vec::new(),
        }
    }
}

/// The nodes whose values a softmax reads.
fn softmax_inputs(graph: &Graph) -> BTreeSet<NodeId> {
    let softmaxes = graph.nodes().iter().filter(|node| node.op == Op::Softmax);
    softmaxes.flat_map(|node| node.inputs.iter().copied()).collect()
}
