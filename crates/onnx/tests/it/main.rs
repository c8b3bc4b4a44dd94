//! The tests of this crate from outside.

mod networks;
mod onnxruntime;
mod round_trip;
mod write;
