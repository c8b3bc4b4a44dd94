//! Reading: nothing in the file is trusted before it is checked.

use std::collections::BTreeMap;
use std::ops::Range;

use dyconv_graph::{Tensor, Weights, WeightsError, check_shapes, check_values, short_text};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::error::ModelFileErrorKind;
use crate::format::{KEY, MAX_HEADER_BYTES, VERSION};
use crate::header::Header;
use crate::model::Model;

/// Characters of a parser's message that are shown: it may quote large parts of the file.
const MESSAGE: usize = 500;

/// Shape and byte range of each tensor in the file.
pub(crate) type Places = BTreeMap<String, (Vec<usize>, Range<usize>)>;

pub(crate) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))
}

impl Model {
    /// Reads and verifies a model file that is in memory.
    ///
    /// # Errors
    /// If it is damaged, or describes an impossible network; see [`ModelFileErrorKind`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelFileErrorKind> {
        let (header, places) = parse(bytes)?;
        let tensor = |(name, (shape, range)): (String, (Vec<usize>, Range<usize>))| {
            let data: Vec<f32> = floats(&bytes[range]).collect();
            check_values(&name, &data)?;
            Ok((name, Tensor::new(&shape, data)))
        };
        let weights = places.into_iter().map(tensor).collect::<Result<_, WeightsError>>()?;
        Ok(header.model(Weights(weights)))
    }
}

/// Checks everything but the values of the tensors.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Header, Places), ModelFileErrorKind> {
    let container =
        |e: safetensors::SafeTensorError| ModelFileErrorKind::Container(short_text(&e.to_string(), MESSAGE));
    check_header_length(bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or(ModelFileErrorKind::Foreign)?;
    let header = header(json)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
    let mut places = Places::new();
    for (name, view) in tensors.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(ModelFileErrorKind::Dtype { name: name.to_owned(), found: format!("{:?}", view.dtype()) });
        }
        // The view is a subslice of `bytes`, so the difference of the addresses is its offset.
        let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        places.insert(name.to_owned(), (view.shape().to_vec(), start..start + view.data().len()));
    }
    check_shapes(&header.graph, places.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice())))?;
    Ok((header, places))
}

/// Adds to a header of version 1 what it left implicit: the EXIF orientation of photographs was ignored. (The resize was
/// bilinear and the crop central, which are the defaults.)
fn complete_version_1(header: &mut serde_json::Value) -> Result<(), ModelFileErrorKind> {
    let Some(preprocessing) = header.get_mut("preprocessing").and_then(serde_json::Value::as_object_mut) else {
        return Ok(());
    };
    if let Some(field) = ["orientation", "interpolation", "crop"].iter().find(|f| preprocessing.contains_key(**f)) {
        return Err(ModelFileErrorKind::Header(format!(
            "preprocessing: unknown field `{field}`, which came with version 2"
        )));
    }
    preprocessing.insert("orientation".into(), "ignore".into());
    Ok(())
}

/// Checks the length of the header against the limit. A header longer than the file is left to the parser to refuse.
pub(crate) fn check_header_length(bytes: &[u8]) -> Result<(), ModelFileErrorKind> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(()) };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES && length <= rest.len() as u64 {
        return Err(ModelFileErrorKind::Header(format!(
            "it has {length} bytes, and may have at most {MAX_HEADER_BYTES}"
        )));
    }
    Ok(())
}

fn header(json: &str) -> Result<Header, ModelFileErrorKind> {
    let malformed = |e: serde_json::Error| ModelFileErrorKind::Header(short_text(&e.to_string(), MESSAGE));
    // The version first: the meaning of the other fields depends on it.
    let mut value: serde_json::Value = serde_json::from_str(json).map_err(malformed)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(1) => complete_version_1(&mut value)?,
        Some(VERSION) => {}
        Some(other) => return Err(ModelFileErrorKind::Version(other)),
        None => return Err(ModelFileErrorKind::Header("the field `version` is missing or no whole number".into())),
    }
    let header: Header = serde_json::from_value(value).map_err(malformed)?;
    header.check()?;
    Ok(header)
}
