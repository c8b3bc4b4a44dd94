//! Reading: nothing in the file is believed before it is checked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use dyconv_graph::{Tensor, Weights};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::header::{Header, KEY};
use crate::{Model, Problem, VERSION};

/// Files above this size are refused.
pub const MAX_FILE_BYTES: u64 = 8 << 30;

pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Problem> {
    let io = |source| Problem::Io { what: "read", source };
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MAX_FILE_BYTES {
        return Err(Problem::Container(format!("{size} bytes, more than {MAX_FILE_BYTES}")));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

pub(crate) fn model(bytes: &[u8]) -> Result<Model, Problem> {
    let container = |e: safetensors::SafeTensorError| Problem::Container(e.to_string());
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or(Problem::Foreign)?;
    let header = header(json)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
    let mut weights = BTreeMap::new();
    for (name, view) in tensors.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(Problem::Dtype { name: name.to_owned(), found: format!("{:?}", view.dtype()) });
        }
        let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        weights.insert(name.to_owned(), Tensor::new(view.shape(), data));
    }
    let weights = Weights(weights);
    weights.check(&header.graph)?;
    let Header { tau, preprocessing, task, provenance, graph, .. } = header;
    Ok(Model { graph, weights, tau, preprocessing, task, provenance })
}

fn header(json: &str) -> Result<Header, Problem> {
    let malformed = |e: serde_json::Error| Problem::Header(e.to_string());
    // The version first: the rest of another version may mean anything.
    let value: serde_json::Value = serde_json::from_str(json).map_err(malformed)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(Problem::Version(other)),
        None => return Err(Problem::Header("the field `version` is missing or no whole number".into())),
    }
    let header: Header = serde_json::from_value(value).map_err(malformed)?;
    header.check()?;
    Ok(header)
}
