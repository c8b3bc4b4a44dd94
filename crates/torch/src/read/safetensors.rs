//! `.safetensors` files.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use dyconv_graph::{Graph, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::FileProblem;
use crate::state_dict::{Origin, Raw};

/// Key of the architecture's name in the metadata of our own files.
pub(crate) const ARCH: &str = "dyconv_arch";
/// Key of the graph in the metadata of our own files.
pub(crate) const GRAPH: &str = "dyconv_graph";

/// Whether a file that begins with these nine bytes is one: the length of a JSON header, and its first brace.
pub(super) fn is_safetensors(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{') && start.get(4..8) == Some(&[0; 4])
}

pub(super) fn read(path: &Path) -> Result<Raw, FileProblem> {
    let bytes = std::fs::read(path).map_err(|source| FileProblem::Io { what: "read", source })?;
    parse(&bytes)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Raw, FileProblem> {
    let container = |e: safetensors::SafeTensorError| FileProblem::Container(e.to_string());
    check_names(bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
    let origin = metadata.metadata().as_ref().and_then(|m| {
        let graph: Graph = serde_json::from_str(m.get(GRAPH)?).ok()?;
        Some(Origin { arch: m.get(ARCH)?.clone(), graph })
    });
    let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
    let mut raw = Raw { origin, ..Raw::default() };
    for (name, view) in tensors.iter() {
        let (kind, data) = match view.dtype() {
            Dtype::F32 => (None, decode(view.data(), f32::from_le_bytes)),
            Dtype::F16 => (Some("f16"), decode(view.data(), |b| half::f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => (Some("bf16"), decode(view.data(), |b| half::bf16::from_le_bytes(b).to_f32())),
            Dtype::F64 => (Some("f64"), decode(view.data(), |b| f64::from_le_bytes(b) as f32)),
            Dtype::I64 | Dtype::U64 | Dtype::I32 | Dtype::U32 | Dtype::I16 | Dtype::U16 | Dtype::BOOL => {
                raw.integers.push(name.to_owned());
                continue;
            }
            Dtype::I8 => return Err(FileProblem::Dtype { name: name.to_owned(), dtype: "int8".into() }),
            Dtype::U8 => return Err(FileProblem::Dtype { name: name.to_owned(), dtype: "uint8".into() }),
            other => return Err(FileProblem::Dtype { name: name.to_owned(), dtype: format!("{other:?}") }),
        };
        if let Some(kind) = kind {
            *raw.converted.entry(kind).or_insert(0) += 1;
        }
        raw.tensors.push((name.to_owned(), Tensor { shape: view.shape().to_vec(), data }));
    }
    Ok(raw)
}

pub(super) fn decode<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
}

/// Refuses a header in which a name occurs twice: the parser would keep the last one.
fn check_names(bytes: &[u8]) -> Result<(), FileProblem> {
    let header = bytes
        .split_first_chunk::<8>()
        .and_then(|(length, rest)| rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?))
        .ok_or_else(|| FileProblem::Container("it ends within its header; it may be cut short".into()))?;
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map from names to tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut seen, mut twice) = (BTreeSet::new(), None);
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if !seen.insert(name.clone()) {
                    twice.get_or_insert(name);
                }
            }
            Ok(twice)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(header);
    match json.deserialize_map(Names) {
        Ok(Some(name)) => Err(FileProblem::Duplicate(name)),
        // What is malformed is left to the parser.
        Ok(None) | Err(_) => Ok(()),
    }
}
