//! Models of other programs in, and out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dyconv_convert::{self as convert, Array, Form, ImportOptions, Names, OnnxOptions, Pair};
use dyconv_file::Model;
use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, of_convert};

/// Imports a network; gives the bytes of its model file, and the report as JSON. `skeleton` and `preprocessing` are JSON,
/// `check` are inputs `[N, C, H, W]` and the answers of the original, in C order.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "Python's keywords")]
pub fn import_model<'py>(
    py: Python<'py>,
    source: PathBuf,
    arch: Option<String>,
    image_size: Option<[usize; 2]>,
    classes: Option<Vec<String>>,
    skeleton: Option<&str>,
    tau: Option<f32>,
    to_dynamic: Option<usize>,
    preprocessing: &str,
    check: Option<(PyReadonlyArrayDyn<'_, f32>, PyReadonlyArrayDyn<'_, f32>)>,
) -> PyResult<(Bound<'py, PyBytes>, String)> {
    let check =
        check.map(|(x, y)| PyResult::Ok(Pair { input: array("check[0]", &x)?, output: array("check[1]", &y)? }));
    let options = ImportOptions {
        arch,
        image_size,
        classes,
        skeleton: skeleton.map(|text| parsed("skeleton", text)).transpose()?,
        tau,
        to_dynamic,
        preprocessing: parsed("preprocessing", preprocessing)?,
        check: check.transpose()?,
    };
    let (bytes, report) = py.detach(|| {
        let convert::Imported { model, report } = convert::import(&source, options).map_err(|e| of_convert(&e))?;
        let bytes = model.to_bytes().map_err(|e| Error::new_err(e.to_string()))?;
        PyResult::Ok((bytes, json(&report)?))
    })?;
    Ok((PyBytes::new(py, &bytes), report))
}

/// The form of dynamic convolutions in ONNX by its name; `attention`: of the frozen form, by layer.
pub fn form(name: Option<&str>, attention: Option<BTreeMap<String, Vec<f32>>>) -> PyResult<Option<Form>> {
    let message = match (name, attention) {
        (None, None) => return Ok(None),
        (Some("exact"), None) => return Ok(Some(Form::Exact)),
        (Some("portable"), None) => return Ok(Some(Form::Portable)),
        (Some("frozen"), Some(mean)) => return Ok(Some(Form::Frozen(mean))),
        (Some("frozen"), None) => "form='frozen': name the images whose mean attention it gets".to_owned(),
        (Some("exact" | "portable") | None, Some(_)) => {
            "images: only form='frozen' averages the attention over images".to_owned()
        }
        (Some(other), _) => format!("form={other:?}: expected 'portable', 'exact' or 'frozen'"),
    };
    Err(PyValueError::new_err(message))
}

/// Writes an ONNX file, reads it back and runs it; gives the report as JSON.
pub fn to_onnx(model: &Model, path: &Path, options: &OnnxOptions) -> PyResult<String> {
    json(&convert::export_onnx(model, path, options).map_err(|e| of_convert(&e))?)
}

/// Writes a state dict, and reads it back; gives the report as JSON.
pub fn to_torch(model: &Model, path: &Path, names: &str) -> PyResult<String> {
    let names = match names {
        "torchvision" => Names::Torchvision,
        "timm" => Names::Timm,
        other => {
            let message = format!("names={other:?}: expected 'torchvision' or 'timm'");
            return Err(PyValueError::new_err(message));
        }
    };
    json(&convert::export_torch(model, path, names).map_err(|e| of_convert(&e))?)
}

/// Writes a hub folder, and reads it back; gives the report as JSON.
pub fn to_hub(model: &Model, folder: &Path) -> PyResult<String> {
    json(&convert::export_hub(model, folder).map_err(|e| of_convert(&e))?)
}

fn array(name: &str, array: &PyReadonlyArrayDyn<'_, f32>) -> PyResult<Array> {
    Ok(Array { name: name.to_owned(), shape: array.shape().to_vec(), values: array.as_slice()?.to_vec() })
}

fn parsed<T: DeserializeOwned>(name: &str, text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(|e| PyValueError::new_err(format!("{name}: {e}")))
}

fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| Error::new_err(e.to_string()))
}
