//! The compiled part of the Python package `dyconv`: models, images and arrays. What people see of it is written in Python,
//! in `py_src/dyconv`.

mod convert;
mod error;
mod image;
mod model;
mod running;
mod source;

use pyo3::prelude::*;

/// The compiled part of dyconv; use the package `dyconv` instead.
#[pymodule(gil_used = false)]
mod _dyconv {
    #[pymodule_export]
    use crate::convert::import_model;
    #[pymodule_export]
    use crate::error::{Error, ImageError};
    #[pymodule_export]
    use crate::model::Core;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
