//! The model file: one `.safetensors` file that is a whole function.
//!
//! Weights, the graph that says what they mean, the temperature, the preprocessing and the class names travel together,
//! so a model that is read back is the same function. `docs/model-file.md` describes the format for other languages.
//!
//! [`Model::read`] brings everything into memory; [`Model::open`] leaves the weights in the file, mapped, for who takes them one
//! by one ([`TensorSource`](dyconv_graph::TensorSource)). The one module with unsafe code is the mapping.
//!
//! On WebAssembly there are no files: [`Model::from_bytes`] and [`Model::to_bytes`] are there, and what takes a path is not.

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
pub use atomic::write_atomically;
#[cfg(not(target_family = "wasm"))]
pub use disk::Mapped;
pub use dyconv_task::{Fingerprint, Orientation, Preprocessing, Skeleton, Task};
pub use error::{FileError, ModelFileErrorKind};
pub use format::{MAX_HEADER_BYTES, VERSION};
#[cfg(not(target_family = "wasm"))]
pub use mmap::MAX_FILE_BYTES;
pub use model::{Model, Provenance};
