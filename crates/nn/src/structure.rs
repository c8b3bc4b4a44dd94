//! Properties of the graph that a network needs in every step, computed once.

use dyconv_graph::{Activation, Graph, NodeId, Op};

/// A graph with the properties that its network needs in every step.
#[derive(Debug)]
pub(crate) struct Structure {
    pub graph: Graph,
    /// Index into `layers` of each node that owns tensors.
    pub layer: Vec<Option<usize>>,
    /// The last node that reads each value.
    pub last_reader: Vec<Option<NodeId>>,
    /// For a batch norm, the activation that is its only reader; for that activation, itself.
    pub fused: Vec<Option<Activation>>,
    /// Whether a node is a pool whose input has a reader that depends on the pool: routers and squeeze-and-excitation.
    pub joins: Vec<bool>,
}

impl Structure {
    /// `layer` is the index of the layer of each node that owns tensors.
    pub fn new(graph: &Graph, layer: Vec<Option<usize>>) -> Self {
        let last_reader = graph.readers().iter().map(|r| r.iter().max().copied()).collect();
        Self { graph: graph.clone(), layer, last_reader, fused: fuse(graph), joins: joins(graph) }
    }
}

/// Finds pools whose input has another reader that depends on them.
fn joins(graph: &Graph) -> Vec<bool> {
    let readers = graph.readers();
    let depends = |pool: NodeId, reader: NodeId| {
        let mut on_pool = vec![false; graph.nodes().len()];
        on_pool[pool.index()] = true;
        for id in graph.ids().skip(pool.index() + 1) {
            on_pool[id.index()] = graph.node(id).inputs.iter().any(|i| on_pool[i.index()]);
        }
        on_pool[reader.index()]
    };
    let joins = |id: NodeId| {
        let node = graph.node(id);
        node.op == Op::GlobalAvgPool
            && readers[node.inputs[0].index()].iter().any(|reader| *reader != id && depends(id, *reader))
    };
    graph.ids().map(joins).collect()
}

/// Finds batch norms whose only reader is an activation.
fn fuse(graph: &Graph) -> Vec<Option<Activation>> {
    let mut fused = vec![None; graph.nodes().len()];
    for (id, readers) in graph.ids().zip(graph.readers()) {
        if let (Op::BatchNorm { .. }, [reader]) = (&graph.node(id).op, &readers[..])
            && let Op::Activation(activation) = graph.node(*reader).op
            && graph.output() != id
        {
            fused[id.index()] = Some(activation);
            fused[reader.index()] = Some(activation);
        }
    }
    fused
}
