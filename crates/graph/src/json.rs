//! The JSON form of a graph, as in the model file.
//!
//! Inputs are referenced by name, so that a person or a script in another language can write one. Unknown fields are
//! errors.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::builder::Builder;
use crate::error::GraphError;
use crate::graph::{Graph, NodeId};
use crate::op::Op;
use crate::words::short_name;

/// A graph as JSON: `{"input": [C, H, W], "nodes": […], "output": "name"}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphJson {
    /// Shape of one sample.
    pub input: [usize; 3],
    /// Every node except the input, each after the nodes it reads.
    pub nodes: Vec<NodeJson>,
    /// Name of the output node.
    pub output: String,
}

/// One node: `{"name": "stem", "op": {"conv": {…}}, "inputs": ["input"]}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeJson {
    /// Unique name.
    pub name: String,
    /// The operation with its settings.
    pub op: Op,
    /// Names of the nodes it reads.
    pub inputs: Vec<String>,
}

impl From<&Graph> for GraphJson {
    fn from(graph: &Graph) -> Self {
        let name = |id: &NodeId| graph.node(*id).name.clone();
        let nodes = graph.nodes()[1..]
            .iter()
            .map(|n| NodeJson { name: n.name.clone(), op: n.op.clone(), inputs: n.inputs.iter().map(name).collect() })
            .collect();
        Self { input: graph.input_dims(), nodes, output: name(&graph.output()) }
    }
}

impl TryFrom<GraphJson> for Graph {
    type Error = GraphError;

    fn try_from(json: GraphJson) -> Result<Self, GraphError> {
        let mut builder = Builder::new(json.input)?;
        let mut ids = HashMap::from([("input".to_owned(), builder.input())]);
        for node in json.nodes {
            let inputs = node
                .inputs
                .iter()
                .map(|name| {
                    ids.get(name).copied().ok_or_else(|| {
                        let name = short_name(name);
                        GraphError::new(&node.name, format!("reads `{name}`, which no node before it is called"))
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let id = builder.push(&node.name, node.op, &inputs)?;
            ids.insert(node.name, id);
        }
        let output = ids.get(&json.output).copied().ok_or_else(|| {
            GraphError::new("graph", format!("the output `{}` is not a node", short_name(&json.output)))
        })?;
        builder.finish(output)
    }
}

impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        GraphJson::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Graph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GraphJson::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Conv2d, Linear, MixConv};
    use crate::router::Router;

    fn sample() -> Graph {
        let mut b = Builder::new([3, 8, 8]).unwrap();
        let x = b.input();
        let pi = b.router("conv.router", x, &Router::default()).unwrap();
        let y = b.push("conv", Op::MixConv(MixConv { kernels: 4, conv: Conv2d::new(6, [3, 3]) }), &[x, pi]).unwrap();
        let y = b.push("conv.bn", Op::BatchNorm { eps: 1e-5 }, &[y]).unwrap();
        let y = b.push("pool", Op::GlobalAvgPool, &[y]).unwrap();
        let y = b.push("classifier", Op::Linear(Linear { out_features: 2, bias: true }), &[y]).unwrap();
        b.finish(y).unwrap()
    }

    #[test]
    fn json_comes_back_as_the_same_graph() {
        let graph = sample();
        let text = serde_json::to_string(&graph).unwrap();
        assert!(
            text.contains(r#"{"name":"conv.router.softmax","op":"softmax","inputs":["conv.router.fc2"]}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
    }

    #[test]
    fn the_ops_that_enlarge_maps_have_a_short_form() {
        let text = r#"{"input":[4,3,5],"nodes":[
            {"name":"up","op":{"upsample":{"scale":2}},"inputs":["input"]},
            {"name":"deconv","op":{"conv_transpose":{"out_channels":6,"kernel":[4,4],"stride":[2,2],"padding":[1,1]}},"inputs":["up"]}
        ],"output":"deconv"}"#;
        let graph: Graph = serde_json::from_str(text).unwrap();
        assert_eq!(graph.output_shape().dims(), [6, 12, 20]);
        assert_eq!(graph.parameters()[0].shape, [4, 6, 4, 4]);
        assert_eq!(crate::cost(&graph).total.total(), 4 * 6 * 16 * 6 * 10);
        let again: Graph = serde_json::from_str(&serde_json::to_string(&graph).unwrap()).unwrap();
        assert_eq!(again, graph);
        let lie = text.replace("\"padding\":[1,1]", "\"dilation\":[1,1]");
        assert!(serde_json::from_str::<Graph>(&lie).unwrap_err().to_string().contains("unknown field `dilation`"));
    }

    #[test]
    fn json_that_lies_is_refused() {
        let good = serde_json::to_value(sample()).unwrap();
        let broken = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = good.clone();
            change(&mut value);
            serde_json::from_value::<Graph>(value).unwrap_err().to_string()
        };
        assert!(broken(&|v| v["nodes"][0]["inputs"][0] = "nowhere".into()).contains("reads `nowhere`"));
        assert!(broken(&|v| v["output"] = "nowhere".into()).contains("output `nowhere`"));
        assert!(broken(&|v| v["nodes"][5]["op"]["mix_conv"]["colour"] = 1.into()).contains("unknown field `colour`"));
        assert!(broken(&|v| v["nodes"][0]["op"] = "fly".into()).contains("unknown variant `fly`"));
        assert!(broken(&|v| v["input"][0] = 0.into()).contains("input channels"));
        assert!(broken(&|v| v["nodes"][5]["op"]["mix_conv"]["kernels"] = 5.into()).contains("5 kernels, got [4]"));
    }
}
