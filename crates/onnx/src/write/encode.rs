//! The bytes of a model. Constants are encoded one at a time, so that only one of them is in memory besides the result:
//! the fields of a protobuf message may come in any order, and the lengths are known beforehand.

use std::io::Write;

use bytes::BufMut;
use dyconv_graph::TensorSource;
use prost::{Message, encode_length_delimiter, length_delimiter_len};

use super::emit::Emitted;
use super::values::{Initializer, Values};
use super::{Batch, IR, OPSET, WriteOptions, Written};
use crate::error::OnnxError;
use crate::proto::{
    Dimension, DimensionProto, EXTERNAL_LOCATION, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};

/// Largest encoded model in bytes: what parsers of protobuf accept.
pub(super) const INLINE_LIMIT: u64 = (1 << 31) - 1;
/// Constants of fewer bytes stay in the model.
const MIN_EXTERNAL: u64 = 4096;
/// Alignment of constants in the external file.
const ALIGN: u64 = 4096;
/// Alignment of constants of at least [`LARGE`] bytes: where a mapping may begin on any system.
const ALIGN_LARGE: u64 = 64 << 10;
const LARGE: u64 = 1 << 20;

/// Keys of the fields `ModelProto.graph`, `GraphProto.initializer` and `TensorProto.raw_data`: number and wire type.
const GRAPH: u8 = 7 << 3 | 2;
const INITIALIZER: u8 = 5 << 3 | 2;
const RAW_DATA: u8 = 9 << 3 | 2;

/// The tensors of a model above 2 GB, in a file of their own.
#[derive(Debug, Clone)]
pub struct ExternalData {
    /// Name of the file, in the folder of the model.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    entries: Vec<(u64, Initializer)>,
}

impl ExternalData {
    /// Writes the file, reading one tensor at a time. `weights` must be those that the model was written with.
    ///
    /// # Errors
    /// If a tensor cannot be read, or the file cannot be written.
    pub fn write_to(&self, weights: &dyn TensorSource, to: &mut dyn Write) -> Result<(), OnnxError> {
        let (mut room, mut bytes, mut position) = (Vec::new(), Vec::new(), 0u64);
        for (offset, initializer) in &self.entries {
            bytes.clear();
            bytes.resize((offset - position) as usize, 0);
            initializer.write(weights, &mut room, &mut bytes)?;
            to.write_all(&bytes)?;
            position += bytes.len() as u64;
        }
        Ok(())
    }
}

/// Encodes the model; constants go into a file of their own if it would exceed `limit` bytes.
pub(super) fn encode(
    emitted: Emitted,
    weights: &dyn TensorSource,
    options: &WriteOptions<'_>,
    limit: u64,
) -> Result<Written, OnnxError> {
    let Emitted { nodes, initializers, input, output } = emitted;
    let graph = GraphProto {
        node: nodes,
        name: Some("dyconv".into()),
        input: vec![value_info("input", input.0, &input.1, options.batch)],
        output: vec![value_info("output", data_type::FLOAT, &output, options.batch)],
        ..GraphProto::default()
    };
    let model = ModelProto {
        ir_version: Some(IR),
        producer_name: Some("dyconv".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: options.metadata.iter().map(|(key, value)| entry(key, value)).collect(),
        ..ModelProto::default()
    };
    let mut headers: Vec<TensorProto> = initializers.iter().map(header).collect();
    let mut external = None;
    if encoded_len(&model, &graph, &headers, &initializers) > limit {
        external = Some(place(&mut headers, &initializers, options.external_name)?);
    }
    let total = encoded_len(&model, &graph, &headers, &initializers);
    let graph_len = graph_len(&graph, &headers, &initializers);
    let too_large = || OnnxError::Options(format!("it has {total} bytes without its tensors, more than {limit}"));
    if total > INLINE_LIMIT {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(total as usize);
    let push = |message: &dyn Fn(&mut Vec<u8>) -> Result<(), prost::EncodeError>, bytes: &mut Vec<u8>| {
        message(bytes).map_err(|_| too_large())
    };
    push(&|b| model.encode(b), &mut bytes)?;
    bytes.put_u8(GRAPH);
    push(&|b| encode_length_delimiter(graph_len as usize, b), &mut bytes)?;
    push(&|b| graph.encode(b), &mut bytes)?;
    let mut room = Vec::new();
    for (header, initializer) in headers.iter().zip(&initializers) {
        bytes.put_u8(INITIALIZER);
        push(&|b| encode_length_delimiter(tensor_len(header, initializer) as usize, b), &mut bytes)?;
        push(&|b| header.encode(b), &mut bytes)?;
        if header.data_location.is_none() {
            bytes.put_u8(RAW_DATA);
            push(&|b| encode_length_delimiter(initializer.bytes() as usize, b), &mut bytes)?;
            initializer.write(weights, &mut room, &mut bytes)?;
        }
    }
    debug_assert_eq!(bytes.len() as u64, total);
    Ok(Written { model: bytes, external, opset: OPSET, ir: IR })
}

/// The message of a constant without its values.
fn header(initializer: &Initializer) -> TensorProto {
    let kind = if matches!(initializer.values, Values::Ints(_)) { data_type::INT64 } else { data_type::FLOAT };
    TensorProto {
        dims: initializer.dims.iter().map(|d| *d as i64).collect(),
        data_type: Some(kind),
        name: Some(initializer.name.clone()),
        ..TensorProto::default()
    }
}

/// Places the larger constants in an external file, and says so in their messages.
fn place(headers: &mut [TensorProto], initializers: &[Initializer], name: &str) -> Result<ExternalData, OnnxError> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
        let name = dyconv_graph::short_name(name);
        return Err(OnnxError::Options(format!("`{name}` is no plain file name for its external data")));
    }
    let mut external = ExternalData { name: name.to_owned(), bytes: 0, entries: Vec::new() };
    for (header, initializer) in headers.iter_mut().zip(initializers) {
        let length = initializer.bytes();
        if length < MIN_EXTERNAL {
            continue;
        }
        let offset = external.bytes.next_multiple_of(if length < LARGE { ALIGN } else { ALIGN_LARGE });
        let (from, bytes) = (offset.to_string(), length.to_string());
        header.external_data = vec![entry("location", name), entry("offset", &from), entry("length", &bytes)];
        header.data_location = Some(EXTERNAL_LOCATION);
        external.bytes = offset + length;
        external.entries.push((offset, initializer.clone()));
    }
    Ok(external)
}

fn encoded_len(model: &ModelProto, graph: &GraphProto, headers: &[TensorProto], initializers: &[Initializer]) -> u64 {
    model.encoded_len() as u64 + field_len(graph_len(graph, headers, initializers))
}

fn graph_len(graph: &GraphProto, headers: &[TensorProto], initializers: &[Initializer]) -> u64 {
    let tensors = headers.iter().zip(initializers).map(|(header, i)| field_len(tensor_len(header, i)));
    graph.encoded_len() as u64 + tensors.sum::<u64>()
}

fn tensor_len(header: &TensorProto, initializer: &Initializer) -> u64 {
    let inline = header.data_location.is_none();
    header.encoded_len() as u64 + if inline { field_len(initializer.bytes()) } else { 0 }
}

/// Bytes of a field with so many bytes of content and a key of one byte.
fn field_len(content: u64) -> u64 {
    1 + length_delimiter_len(content as usize) as u64 + content
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A value of the model with the dimensions of one sample.
fn value_info(name: &str, elem_type: i32, dims: &[usize], batch: Batch) -> ValueInfoProto {
    let first = match batch {
        Batch::Free => Dimension::Param("batch".into()),
        Batch::Fixed(n) => Dimension::Value(n as i64),
    };
    let dims = dims.iter().map(|d| Dimension::Value(*d as i64));
    let dim = std::iter::once(first).chain(dims).map(|value| DimensionProto { value: Some(value) }).collect();
    let tensor = TensorTypeProto { elem_type: Some(elem_type), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        doc_string: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::nodes::emit;
    use super::*;
    use dyconv_graph::{Builder, Conv2d, Graph, Op, Weights, init};

    /// Weights of 18 kB, 1 MiB and 64 kB, and a bias of 32 bytes.
    fn network() -> (Graph, Weights) {
        let mut b = Builder::new([256, 4, 4]).unwrap();
        let x = b.input();
        let y = b.push("small", Op::Conv(Conv2d { groups: 8, ..Conv2d::new(16, [3, 3]) }), &[x]).unwrap();
        let y = b.push("large", Op::Conv(Conv2d::new(16_384, [1, 1])), &[y]).unwrap();
        let y = b.push("last", Op::Conv(Conv2d { groups: 8, bias: true, ..Conv2d::new(8, [1, 1]) }), &[y]).unwrap();
        let graph = b.finish(y).unwrap();
        let weights = init(&graph, Default::default());
        (graph, weights)
    }

    fn encoded(graph: &Graph, weights: &Weights, options: &WriteOptions<'_>, limit: u64) -> Result<Written, OnnxError> {
        encode(emit(graph, weights, 1.0, options)?, weights, options, limit)
    }

    #[test]
    fn large_tensors_go_into_a_file_of_their_own() {
        let (graph, weights) = network();
        let options = WriteOptions { external_name: "model.data", ..WriteOptions::default() };
        let inline = encoded(&graph, &weights, &options, INLINE_LIMIT).unwrap();
        assert!(inline.external.is_none());
        // What just fits stays inline.
        let fits = encoded(&graph, &weights, &options, inline.model.len() as u64).unwrap();
        assert_eq!((fits.model.len(), fits.external.is_none()), (inline.model.len(), true));

        let written = encoded(&graph, &weights, &options, inline.model.len() as u64 - 1).unwrap();
        let external = written.external.unwrap();
        let mut file = Vec::new();
        external.write_to(&weights, &mut file).unwrap();
        assert_eq!((file.len() as u64, external.name.as_str()), (external.bytes, "model.data"));
        let model = ModelProto::decode(written.model.as_slice()).unwrap();
        let of_inline = ModelProto::decode(inline.model.as_slice()).unwrap();
        let tensors = |model: ModelProto| model.graph.unwrap().initializer;
        let mut offsets = Vec::new();
        for (tensor, whole) in tensors(model).iter().zip(tensors(of_inline)) {
            assert_eq!((&tensor.name, &tensor.dims), (&whole.name, &whole.dims));
            let expected = whole.raw_data.unwrap();
            if tensor.external_data.is_empty() {
                assert_eq!(tensor.raw_data.as_ref(), Some(&expected));
                continue;
            }
            assert!(tensor.raw_data.is_none() && tensor.data_location() == EXTERNAL_LOCATION);
            let value = |i: usize, key: &str| {
                assert_eq!(tensor.external_data[i].key(), key);
                tensor.external_data[i].value()
            };
            assert_eq!(value(0, "location"), "model.data");
            let (offset, length): (usize, usize) =
                (value(1, "offset").parse().unwrap(), value(2, "length").parse().unwrap());
            assert_eq!(file[offset..offset + length], expected, "{}", tensor.name());
            offsets.push((tensor.name().to_owned(), offset, length));
        }
        let expected =
            [("small.weight", 0, 18_432), ("large.weight", 65_536, 1 << 20), ("last.weight", 1_114_112, 65_536)];
        assert_eq!(offsets, expected.map(|(name, offset, length)| (name.to_owned(), offset, length)));
    }

    #[test]
    fn the_name_of_the_file_has_no_folder() {
        let (graph, weights) = network();
        for name in ["", "../x", "a/b", "a\\b", "c:x", ".."] {
            let options = WriteOptions { external_name: name, ..WriteOptions::default() };
            let error = encoded(&graph, &weights, &options, 1000).unwrap_err().to_string();
            assert!(error.ends_with("is no plain file name for its external data"), "{error}");
        }
    }
}
