//! Networks of other programs become models, and models become files of other programs. Both are run and compared: what comes
//! in with the answers of the original, what goes out with those of the model.
//!
//! [`import`] takes a state dict of PyTorch, timm or torchvision, a hub folder, or an ONNX file; what a source is is decided by its
//! content. [`export_onnx`], [`export_torch`] and [`export_hub`] go the other way: they write, read back, run and compare before a
//! file gets its place. Reports say what was found, used, left out and assumed.
//!
//! ```
//! use dyconv_convert::{ImportOptions, OnnxOptions, export_onnx, import};
//!
//! let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/onnx/golden_static_b2-dynamo.onnx");
//! let imported = import(source, ImportOptions::default())?;
//! assert_eq!((imported.report.kind, imported.report.check), ("ONNX", None));
//! assert!(imported.model.graph.dynamic_layers() > 0);
//!
//! let folder = tempfile::tempdir()?;
//! let report = export_onnx(&imported.model, &folder.path().join("again.onnx"), &OnnxOptions::default())?;
//! assert!(report.checks.iter().all(|check| check.difference.is_within(1e-4)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod answers;
mod error;
mod export;
mod files;
mod import;
mod note;

pub use dyconv_onnx::write::Batch;
pub use dyconv_torch::Names;

pub use answers::Difference;
pub use error::{ConvertError, SourceProblem};
pub use export::{
    ExportCheck, ExportReport, Form, MeanAttention, OnnxOptions, WrittenFile, export_hub, export_onnx, export_torch,
    with_attention,
};
pub use import::{
    Array, Findings, ImportCheck, ImportOptions, ImportReport, Imported, MadeDynamic, Pair, TensorFinding, import,
};
pub use note::{Note, Remedy};
