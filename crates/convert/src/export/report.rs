//! What an export wrote, and how far its answers are from the engine's.

use std::path::PathBuf;

use serde::Serialize;

use crate::answers::Difference;
use crate::error::ConvertError;
use crate::note::Note;

/// The report of an export.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ExportReport {
    /// What was written: `onnx`, `torch` or `hub`.
    pub kind: &'static str,
    /// The files, the main one first.
    pub files: Vec<WrittenFile>,
    /// ONNX: `exact`, `portable` or `frozen`; `None` for a static network, and for other kinds.
    pub form: Option<&'static str>,
    /// ONNX: number of samples of a run, `None` if it is free, and for other kinds.
    pub batch: Option<usize>,
    /// ONNX: the operator set.
    pub opset: Option<i64>,
    /// ONNX: the version of the file format.
    pub ir: Option<i64>,
    /// State dicts: whose names the tensors have, `torchvision` or `timm`.
    pub names: Option<&'static str>,
    /// The answers of what was read back, compared with the model's, for several batches.
    pub checks: Vec<ExportCheck>,
    /// Remarks on the comparison.
    pub notes: Vec<Note>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The difference for one batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExportCheck {
    /// Number of samples that were run together.
    pub batch: usize,
    /// How far the answers are from those of the model.
    #[serde(flatten)]
    pub difference: Difference,
}

impl WrittenFile {
    pub(super) fn all(paths: Vec<PathBuf>) -> Result<Vec<Self>, ConvertError> {
        let file = |path: PathBuf| match path.metadata() {
            Ok(about) => Ok(Self { path: path.display().to_string(), bytes: about.len() }),
            Err(source) => Err(ConvertError::Io { path, what: "read", source }),
        };
        paths.into_iter().map(file).collect()
    }
}
