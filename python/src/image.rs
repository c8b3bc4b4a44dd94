//! Images as Python hands them over.

use std::path::PathBuf;

use dyconv_data::{DecodeOptions, Image, decode, load};
use dyconv_predict as predict;
use numpy::{PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::error::ImageError;

/// An image: the bytes of a file, pixels, or the path of a file.
#[derive(FromPyObject)]
pub enum Picture<'py> {
    Bytes(PyBackedBytes),
    /// `[height, width, channels]`, in C order.
    Pixels(PyReadonlyArray3<'py, u8>),
    Path(PathBuf),
}

/// The same, without a reference to the interpreter.
pub enum Raw {
    Bytes(PyBackedBytes),
    Pixels(Image),
    Path(PathBuf),
}

impl Picture<'_> {
    /// Copies pixels: another thread of Python may write to them.
    pub fn raw(self) -> PyResult<Raw> {
        Ok(match self {
            Self::Bytes(bytes) => Raw::Bytes(bytes),
            Self::Path(path) => Raw::Path(path),
            Self::Pixels(array) => {
                let &[height, width, channels] = array.shape() else { unreachable!("three axes") };
                if !matches!(channels, 1 | 3) || height == 0 || width == 0 {
                    let message = format!(
                        "the array has shape [{height}, {width}, {channels}], expected [height, width, 3] or [height, width, 1]"
                    );
                    return Err(ImageError::new_err(message));
                }
                Raw::Pixels(Image::new(width, height, channels, array.as_slice()?.to_vec()))
            }
        })
    }
}

impl Raw {
    /// The decoded image.
    pub fn decode(self, options: &DecodeOptions) -> Result<Image, predict::Error> {
        Ok(match self {
            Self::Bytes(bytes) => decode(&bytes, "the image", options)?,
            Self::Pixels(image) => image,
            Self::Path(path) => load(&path, options)?,
        })
    }
}
