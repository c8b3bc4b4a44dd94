//! Errors of the libraries as Python's exceptions, with the words of the program.

use std::io::ErrorKind;

use dyconv_convert::ConvertError;
use dyconv_file::{FileError, ModelFileErrorKind};
use dyconv_predict as predict;
use dyconv_torch::{FileProblem, TorchError};
use pyo3::exceptions::{PyException, PyFileNotFoundError};
use pyo3::{PyErr, create_exception};

create_exception!(
    dyconv,
    Error,
    PyException,
    "Something that dyconv cannot do: a model, an image or a request that does not fit."
);
create_exception!(dyconv, ImageError, Error, "An image that cannot be read.");

/// The exception for an error between a model and a prediction.
pub fn of_predict(error: predict::Error) -> PyErr {
    match &error {
        predict::Error::Data(_) => ImageError::new_err(error.to_string()),
        predict::Error::File(error) => of_file(error),
        predict::Error::Bytes(kind) => Error::new_err(format!("{error}{}", hint(kind))),
        predict::Error::NotAClassifier(_) => Error::new_err(format!("{error}; ask it for keypoints()")),
        predict::Error::NotAKeypointNetwork(_) => Error::new_err(format!("{error}; ask it to predict()")),
        _ => Error::new_err(error.to_string()),
    }
}

/// The exception for an error of a model file.
pub fn of_file(error: &FileError) -> PyErr {
    match &error.kind {
        ModelFileErrorKind::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            PyFileNotFoundError::new_err(error.to_string())
        }
        kind => Error::new_err(format!("{error}{}", hint(kind))),
    }
}

/// What to do about a file that is none of ours.
fn hint(kind: &ModelFileErrorKind) -> &'static str {
    match kind {
        ModelFileErrorKind::Container(_) | ModelFileErrorKind::Foreign => {
            "; weights of other programs come in by dyconv.import_()"
        }
        _ => "",
    }
}

/// The exception for an error of an import or export, with what Python's caller can do about it.
pub fn of_convert(error: &ConvertError) -> PyErr {
    let hint = match error {
        ConvertError::ArchOfOnnx { .. } => ": leave arch out",
        ConvertError::SourceClasses { .. } => "; name them with classes=",
        ConvertError::NoSkeleton { .. } => "; name the keypoints with skeleton=",
        ConvertError::PreprocessingOfNetwork(_) => "; image_size= sets the height and width of its input",
        ConvertError::StaticForm { .. } => "; leave form out",
        ConvertError::NoArchitecture => "; to_onnx() writes any network",
        _ => "",
    };
    let message = format!("{error}{hint}");
    let source = match error {
        ConvertError::Io { source, .. } => Some(source),
        ConvertError::Open(TorchError::File { kind: FileProblem::Io { source, .. }, .. }) => Some(source),
        _ => None,
    };
    match source {
        Some(source) if source.kind() == ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
        _ => Error::new_err(message),
    }
}
