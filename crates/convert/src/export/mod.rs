//! Models become files of other programs.

mod frozen;
mod onnx;
mod report;
mod torch;

pub use frozen::{MeanAttention, with_attention};
pub use onnx::{Form, OnnxOptions, export_onnx};
pub use report::{ExportCheck, ExportReport, WrittenFile};
pub use torch::{export_hub, export_torch};
