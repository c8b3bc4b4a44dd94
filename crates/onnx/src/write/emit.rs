//! The nodes and constants of a model under construction.

use std::collections::HashSet;

use bytes::Bytes;

use super::values::{Initializer, Values};
use crate::proto::{AttributeProto, NodeProto, attribute_type};

/// What is encoded.
pub(super) struct Emitted {
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<Initializer>,
    /// Element type of the input, and the dimensions of one sample.
    pub input: (i32, Vec<usize>),
    /// Dimensions of one sample of the output.
    pub output: Vec<usize>,
}

/// Collects nodes and constants.
#[derive(Default)]
pub(super) struct Emitter {
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<Initializer>,
    /// Names of the constants that equal nodes share.
    shared: HashSet<String>,
}

impl Emitter {
    /// Adds a node with one output.
    pub fn node(&mut self, name: &str, op_type: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(name.to_owned()),
            op_type: Some(op_type.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    /// Adds a node that belongs to the graph node `owner`, and returns the name of its value.
    pub fn part(
        &mut self,
        owner: &str,
        part: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = format!("{owner}/{part}");
        self.node(&name, op_type, inputs, &name, attributes);
        name
    }

    /// Adds a constant and returns its name.
    pub fn constant(&mut self, name: String, dims: &[usize], values: Values) -> String {
        self.initializers.push(Initializer { name: name.clone(), dims: dims.to_vec(), values });
        name
    }

    /// A list of integers: a shape, axes, positions.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.shared(format!("ints/{}", words.join("x")), &[values.len()], Values::Ints(values.to_vec()))
    }

    /// A number.
    pub fn scalar(&mut self, value: f32) -> String {
        self.shared(format!("scalar/{value}"), &[], Values::Floats(vec![value]))
    }

    fn shared(&mut self, name: String, dims: &[usize], values: Values) -> String {
        if self.shared.insert(name.clone()) { self.constant(name, dims, values) } else { name }
    }
}

/// An attribute that is an integer.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_type::INT) }
}

/// An attribute that is a list of sizes.
pub(super) fn sizes(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|v| *v as i64).collect();
    AttributeProto { ints, ..attribute(name, attribute_type::INTS) }
}

/// An attribute that is a number.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, attribute_type::FLOAT) }
}

/// An attribute that is a text.
pub(super) fn text(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto { s: Some(Bytes::from_static(value.as_bytes())), ..attribute(name, attribute_type::STRING) }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind), ..AttributeProto::default() }
}
