//! Where a model comes from: it can be read again from there.

use std::fs;
use std::path::{Path, PathBuf};

use dyconv_file::{FileError, Model, ModelFileErrorKind, write_atomically};
use dyconv_predict::{self as predict, ModelOptions, Predictor};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::error::{Error, of_file};

/// A model file, or its bytes.
#[derive(FromPyObject)]
pub enum Source {
    Bytes(PyBackedBytes),
    Path(PathBuf),
}

impl Source {
    /// Reads and compiles the model.
    pub fn compile(&self, options: ModelOptions) -> Result<Predictor, predict::Error> {
        match self {
            Self::Bytes(bytes) => options.from_bytes(bytes),
            Self::Path(path) => options.open(path),
        }
    }

    /// Reads the model with its weights.
    pub fn model(&self) -> PyResult<Model> {
        match self {
            Self::Bytes(bytes) => Model::from_bytes(bytes).map_err(|e| Error::new_err(e.to_string())),
            Self::Path(path) => Model::read(path).map_err(|e| of_file(&e)),
        }
    }

    /// Writes the model file to `path`, in one step.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let at = |path: &Path, what: &'static str| {
            let path = path.to_owned();
            move |source| FileError { path, kind: ModelFileErrorKind::Io { what, source } }
        };
        match self {
            Self::Bytes(bytes) => write_atomically(path, bytes).map_err(at(path, "written")),
            Self::Path(from) => {
                let bytes = fs::read(from).map_err(at(from, "read"))?;
                write_atomically(path, &bytes).map_err(at(path, "written"))
            }
        }
    }
}
