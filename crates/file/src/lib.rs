//! The model file: one `.safetensors` file that holds a complete model.
//!
//! Weights, the graph that gives them meaning, the temperature, the preprocessing and the class names are stored
//! together, so a model that is read back computes the same function. `docs/model-file.md` describes the format for
//! other languages.
//!
//! [`Model::read`] loads everything into memory; [`Model::open`] leaves the weights in the file, mapped, for callers
//! that read them one by one ([`TensorSource`](dyconv_graph::TensorSource)). Only the mapping module contains unsafe
//! code.
//!
//! WebAssembly has no files: [`Model::from_bytes`] and [`Model::to_bytes`] exist there, functions that take a path do
//! not.

#[cfg(not(target_family = "wasm"))]
mod atomic;
#[cfg(not(target_family = "wasm"))]
mod disk;
mod error;
mod format;
mod header;
#[cfg(not(target_family = "wasm"))]
mod mmap;
mod model;
mod read;
mod write;

#[cfg(not(target_family = "wasm"))]
pub use atomic::{file_to_write, folder_of, write_atomically};
#[cfg(not(target_family = "wasm"))]
pub use disk::Mapped;
pub use dyconv_task::{CropMode, Fingerprint, Interpolation, Orientation, Preprocessing, Skeleton, Task};
pub use error::{FileError, ModelFileErrorKind};
pub use format::{MAX_HEADER_BYTES, VERSION};
#[cfg(not(target_family = "wasm"))]
pub use mmap::MAX_FILE_BYTES;
pub use model::{Model, Provenance};
