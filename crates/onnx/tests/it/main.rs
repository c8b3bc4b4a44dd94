//! The tests of this crate from outside.

mod networks;
mod onnxruntime;
mod write;
