//! ONNX networks to dyconv graphs, and dyconv graphs to ONNX.
//!
//! [`read()`] turns the bytes of an ONNX file into a [`Graph`](dyconv_graph::Graph) with its weights. Convolutions whose
//! kernels are computed from attention become `mix_conv`.
#![forbid(unsafe_code)]

mod error;
pub mod proto;
pub mod read;
pub mod write;

pub use error::{OnnxError, Problem};
pub use read::{DynamicLayer, Ending, Imported, ReadOptions, Report, read, read_tensor, read_with};
