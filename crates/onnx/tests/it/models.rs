//! ONNX models made by hand.

use bytes::Bytes;
use dyconv_onnx::proto::{
    AttributeProto, Dimension, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
};
use dyconv_onnx::{Imported, OnnxError, read};
use prost::Message;

/// A model that grows node by node. The input is `x`, the output `y`.
pub struct Model(pub ModelProto);

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|d| DimensionProto { value: (*d > 0).then_some(Dimension::Value(*d)) }).collect();
    let tensor = TensorTypeProto { elem_type: Some(data_type::FLOAT), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        ..ValueInfoProto::default()
    }
}

impl Model {
    /// A model of an input `[N, C, H, W]`; sizes of 0 are free.
    pub fn new(input: [i64; 4]) -> Self {
        let graph =
            GraphProto { input: vec![value("x", &input)], output: vec![value("y", &[])], ..GraphProto::default() };
        let opset = OperatorSetIdProto { domain: None, version: Some(17) };
        Self(ModelProto { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() })
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    /// Adds a node that is called as its output.
    pub fn node(mut self, op: &str, inputs: &str, output: &str, attributes: &[AttributeProto]) -> Self {
        self.graph().node.push(NodeProto {
            input: inputs.split(' ').map(|i| i.trim_matches('-').to_owned()).collect(),
            output: output.split(' ').map(str::to_owned).collect(),
            name: Some(output.split(' ').next().unwrap().to_owned()),
            op_type: Some(op.to_owned()),
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
        self
    }

    pub fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(data_type::FLOAT),
            raw_data: Some(Bytes::from(raw)),
            ..TensorProto::default()
        });
        self
    }

    pub fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph().initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: vec![values.len() as i64],
            data_type: Some(data_type::INT64),
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    pub fn read(&self) -> Result<Imported, OnnxError> {
        read(&self.bytes(), None)
    }

    /// The ops of the graph that is read, without the input, in their order.
    pub fn ops(&self) -> String {
        let imported = self.read().unwrap_or_else(|e| panic!("{e}"));
        let ops: Vec<&str> = imported.graph.nodes()[1..].iter().map(|n| n.op.name()).collect();
        ops.join(" ")
    }

    pub fn error(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    let name = Some(name.to_owned());
    AttributeProto { name, i: Some(value), r#type: Some(attribute_type::INT), ..AttributeProto::default() }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let name = Some(name.to_owned());
    AttributeProto { name, ints: values.to_vec(), r#type: Some(attribute_type::INTS), ..AttributeProto::default() }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    let name = Some(name.to_owned());
    AttributeProto { name, f: Some(value), r#type: Some(attribute_type::FLOAT), ..AttributeProto::default() }
}

pub fn text(name: &str, value: &'static str) -> AttributeProto {
    let (name, s) = (Some(name.to_owned()), Some(Bytes::from_static(value.as_bytes())));
    AttributeProto { name, s, r#type: Some(attribute_type::STRING), ..AttributeProto::default() }
}
