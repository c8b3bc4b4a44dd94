//! State dicts in and out: PyTorch's, timm's and Keras' files and names, and hub folders.
//!
//! [`read_state_dict`] reads a file, [`open`] also a hub folder with its preprocessing and class names, [`import`]
//! recognizes the network and makes a graph with weights of it, [`export`] goes the other way. A [`Report`] says what matched
//! and what did not.
#![forbid(unsafe_code)]

mod adapt;
mod arch;
mod detect;
mod dialects;
mod error;
mod export;
mod hub;
mod import;
mod named;
mod read;
mod report;
mod state_dict;

pub use error::{FileProblem, TorchError};
pub use export::{Names, export};
pub use hub::{Source, open, write_hub};
pub use import::{Imported, import, import_at};
pub use read::read_state_dict;
pub use report::{Mismatch, Missing, Report, Unused};
pub use state_dict::StateDict;
