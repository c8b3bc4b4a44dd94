//! The tests of this crate from outside.

mod golden;
mod hostile;
mod models;
mod networks;
mod onnxruntime;
mod read;
mod refused;
mod round_trip;
mod write;
