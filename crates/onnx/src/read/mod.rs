//! Reads ONNX.

use std::collections::BTreeMap;
use std::path::Path;

use dyconv_graph::{Graph, Weights};
use serde::{Deserialize, Serialize};

use crate::error::OnnxError;

/// A network that was read from an ONNX file.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The computation.
    pub graph: Graph,
    /// Its tensors.
    pub weights: Weights,
    /// Temperature of every softmax router.
    pub tau: f32,
    /// What was understood.
    pub report: Report,
    /// The model's `metadata_props`.
    pub metadata: BTreeMap<String, String>,
}

/// What was understood of an ONNX file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {}

/// How an ONNX file is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadOptions {
    /// Height and width of the input, where the file leaves them free.
    pub image_size: Option<[usize; 2]>,
}

/// Reads an ONNX model; `dir` is the folder where its external data lie.
///
/// # Errors
/// If the bytes are not an ONNX model or a graph cannot hold it.
pub fn read(bytes: &[u8], dir: Option<&Path>) -> Result<Imported, OnnxError> {
    read_with(bytes, dir, &ReadOptions::default())
}

/// As [`read()`], with options.
///
/// # Errors
/// As for [`read()`].
pub fn read_with(_bytes: &[u8], _dir: Option<&Path>, _options: &ReadOptions) -> Result<Imported, OnnxError> {
    Err(OnnxError::Invalid("not yet".into()))
}
