//! A walk over the encoded message before it is decoded, which bounds the memory that decoding takes.
//!
//! An empty message takes two bytes in the file and hundreds in memory, so a small file could decode to a large one.

use std::mem::size_of;

use crate::proto::{
    AttributeProto, DimensionProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Messages nested deeper are refused: `prost` decodes recursively, with a limit of 100.
const MAX_DEPTH: usize = 90;
/// Memory that structure may take whatever the size of the file.
const ALLOWANCE: usize = 16 << 20;

#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Function,
    /// A message that holds no message.
    Leaf,
}

/// What a length-delimited field holds.
enum Field {
    Message(Kind, usize),
    /// Numbers of which the smallest takes one byte in the file and this many in memory.
    Numbers(usize),
    /// Text, or bytes that are shared with the file.
    Text,
}

fn field(kind: Kind, tag: u64) -> Field {
    use Field::{Message, Numbers, Text};
    let entry = Message(Kind::Leaf, size_of::<StringStringEntryProto>());
    let node = Message(Kind::Node, size_of::<NodeProto>());
    let tensor = Message(Kind::Tensor, size_of::<TensorProto>());
    let graph = Message(Kind::Graph, size_of::<GraphProto>());
    let opset = Message(Kind::Leaf, size_of::<OperatorSetIdProto>());
    let attribute = Message(Kind::Attribute, size_of::<AttributeProto>());
    let value = Message(Kind::ValueInfo, size_of::<ValueInfoProto>());
    match (kind, tag) {
        (Kind::Model, 7) | (Kind::Attribute, 6) => graph,
        (Kind::Model, 8) | (Kind::Function, 9) => opset,
        (Kind::Model, 14) | (Kind::Node, 9) | (Kind::Tensor, 13) => entry,
        (Kind::Model, 25) => Message(Kind::Function, size_of::<FunctionProto>()),
        (Kind::Graph, 1) | (Kind::Function, 7) => node,
        (Kind::Graph, 5) | (Kind::Attribute, 5) => tensor,
        (Kind::Graph, 11..=13) => value,
        (Kind::Graph, 15) => Message(Kind::Leaf, size_of::<SparseTensorProto>()),
        (Kind::Node, 5) | (Kind::Function, 11) => attribute,
        (Kind::Attribute, 7) | (Kind::Tensor, 4) => Numbers(1),
        (Kind::Attribute, 8) | (Kind::Tensor, 1 | 7 | 11) => Numbers(size_of::<i64>()),
        (Kind::Tensor, 5) => Numbers(size_of::<i32>()),
        (Kind::ValueInfo, 2) => Message(Kind::Type, size_of::<TypeProto>()),
        (Kind::Type, 1) => Message(Kind::TensorType, size_of::<TensorTypeProto>()),
        (Kind::TensorType, 2) => Message(Kind::Shape, size_of::<TensorShapeProto>()),
        (Kind::Shape, 1) => Message(Kind::Leaf, size_of::<DimensionProto>()),
        _ => Text,
    }
}

/// Checks that the bytes have the form of a message, and that decoding them as a model takes little more memory than
/// they do.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let limit = bytes.len().saturating_mul(2).saturating_add(ALLOWANCE);
    let mut cost = 0usize;
    let mut at = 0;
    let mut open = vec![(bytes.len(), Kind::Model)];
    while let Some((end, kind)) = open.last().copied() {
        if at >= end {
            open.pop();
            continue;
        }
        let fail = |what: &str| Err(format!("{what} at byte {at}"));
        let Some((key, next)) = varint(bytes, at, end) else { return fail("a damaged field") };
        let (tag, wire) = (key >> 3, key & 7);
        let size = match wire {
            0 => match varint(bytes, next, end) {
                Some((_, after)) => {
                    cost = cost.saturating_add(2 * size_of::<i64>());
                    at = after;
                    continue;
                }
                None => return fail("a damaged number"),
            },
            1 => 8,
            5 => 4,
            2 => {
                let Some((len, start)) = varint(bytes, next, end) else { return fail("a damaged length") };
                let Some(stop) = usize::try_from(len).ok().and_then(|len| start.checked_add(len)) else {
                    return fail("a length beyond the file");
                };
                if stop > end {
                    return fail("a length beyond its message");
                }
                let len = stop - start;
                // Twice, as lists grow by doubling.
                match field(kind, tag) {
                    Field::Message(inner, size) => {
                        if open.len() >= MAX_DEPTH {
                            return fail("messages nested too deeply");
                        }
                        cost = cost.saturating_add(2 * size);
                        open.push((stop, inner));
                        at = start;
                    }
                    Field::Numbers(size) => {
                        cost = cost.saturating_add(len.saturating_mul(size));
                        at = stop;
                    }
                    Field::Text => {
                        cost = cost.saturating_add(2 * size_of::<String>());
                        at = stop;
                    }
                }
                if cost > limit {
                    return Err(format!("its structure takes more than {limit} bytes, at byte {at}"));
                }
                continue;
            }
            _ => return fail("a field of an unknown kind"),
        };
        cost = cost.saturating_add(2 * size_of::<i64>());
        at = next + size;
        if at > end {
            return Err("a field beyond its message".into());
        }
        if cost > limit {
            return Err(format!("its structure takes more than {limit} bytes, at byte {at}"));
        }
    }
    Ok(())
}

/// The number at `at`, and the position behind it.
fn varint(bytes: &[u8], at: usize, end: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, byte) in bytes.get(at..end)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}
