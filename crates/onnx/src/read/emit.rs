//! The finished network as a graph.

use std::rc::Rc;

use dyconv_graph::{Builder, Graph, NodeId, Op, Tensor, Weights};

use super::names::Names;
use super::net::{Kind, Net};
use crate::error::OnnxError;

/// The nodes that `output` depends on, as a graph with its weights.
pub(super) fn emit(net: Net, output: usize) -> Result<(Graph, Weights), OnnxError> {
    let live = net.live(output);
    // In the order of the file: what was made when it was first read comes where the file has it.
    let mut keys: Vec<usize> = Vec::with_capacity(net.nodes.len());
    for node in &net.nodes {
        let before = node.inputs.iter().filter_map(|i| keys.get(*i)).max().copied().unwrap_or(0);
        keys.push(before.max(node.origins.at));
    }
    let mut order: Vec<usize> = (1..net.nodes.len()).filter(|i| live[*i]).collect();
    order.sort_by_key(|i| (keys[*i], *i));
    let input = match net.nodes[0].shape {
        dyconv_graph::Shape::Map(dims) => dims,
        dyconv_graph::Shape::Vector(n) => [n, 1, 1],
    };
    let mut builder = Builder::new(input)?;
    let mut ids: Vec<Option<NodeId>> = vec![None; net.nodes.len()];
    ids[0] = Some(builder.input());
    let mut names = Names::new();
    let mut weights = Weights::default();
    let mut nodes: Vec<_> = net.nodes.into_iter().map(Some).collect();
    for i in order {
        let Some(node) = nodes[i].take() else { continue };
        let name = names.name(&node);
        let Kind::Op(op) = node.kind else {
            return Err(OnnxError::Unsupported(format!("node `{name}` could not be merged into a layer")));
        };
        if op == Op::Input {
            continue;
        }
        let inputs: Option<Vec<NodeId>> = node.inputs.iter().map(|i| ids[*i]).collect();
        let inputs =
            inputs.ok_or_else(|| OnnxError::Invalid(format!("node `{name}` reads a value that comes later")))?;
        ids[i] = Some(builder.push(&name, op, &inputs)?);
        for (tensor, shape, values) in node.tensors {
            let data = Rc::try_unwrap(values).unwrap_or_else(|shared| (*shared).clone());
            if shape.iter().product::<usize>() != data.len() {
                return Err(OnnxError::Invalid(format!("tensor `{name}.{tensor}` does not have the shape {shape:?}")));
            }
            weights.0.insert(format!("{name}.{tensor}"), Tensor { shape, data });
        }
    }
    let output = ids[output].ok_or_else(|| OnnxError::Invalid("the output is not computed".into()))?;
    let graph = builder.finish(output)?;
    weights.check(&graph)?;
    Ok((graph, weights))
}
