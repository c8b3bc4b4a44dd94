//! Errors between a model and a prediction.

use dyconv_data::DataError;
use dyconv_engine::EngineError;
use dyconv_file::{FileError, ModelFileErrorKind};
use dyconv_metrics::KeypointError;

/// Errors between a model file and a prediction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error in the model file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An error in the bytes of a model.
    #[error("the bytes of the model: {0}")]
    Bytes(#[from] ModelFileErrorKind),
    /// An error in an image or a data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An error in compiling or running the network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data set has a class that the model was not trained on.
    #[error("the model does not know the class `{class}` of the data; it knows {known}")]
    UnknownClass {
        /// The class.
        class: String,
        /// Some of the classes that the model knows.
        known: String,
    },
    /// A keypoint network, where a classifier is required.
    #[error("the model answers with {0} joints, not with classes: it is a keypoint network")]
    NotAClassifier(usize),
    /// A classifier, where a keypoint network is required.
    #[error("the model answers with {0} classes, not with joints: it is a classifier")]
    NotAKeypointNetwork(usize),
    /// Images with classes, where persons are required.
    #[error("the data hold images with classes, expected persons with joints")]
    NoPersons,
    /// The data set and the model have different keypoints.
    #[error("the data have {data} joints, the model answers with {model}, or their names differ")]
    OtherKeypoints {
        /// Number of keypoints of the data.
        data: usize,
        /// Number of keypoints of the model.
        model: usize,
    },
    /// Predictions that cannot be scored.
    #[error("the answers cannot be scored: {0}")]
    Score(#[from] KeypointError),
    /// The requested part of the data set is empty.
    #[error("the part of the data to score holds no images; name another split")]
    NothingToScore,
    /// No image of the part to score can be read.
    #[error("none of the {images} images to score can be read; the first: {first}")]
    NothingRead {
        /// Number of images.
        images: usize,
        /// The error of the first one.
        first: String,
    },
    /// NaN or infinity in the output of a keypoint network.
    #[error("no answer: {unknown} of {joints} heat maps hold NaN or infinity; are the model's weights damaged?")]
    NoKeypoints {
        /// Number of heat maps with such a value.
        unknown: usize,
        /// Number of all heat maps: keypoints of all persons.
        joints: usize,
    },
    /// NaN in the output of a classifier.
    #[error("no answer: {nan} of the network's {outputs} outputs are NaN; are the model's weights damaged?")]
    NoAnswer {
        /// Number of outputs that are NaN.
        nan: usize,
        /// Number of outputs: classes of the model.
        outputs: usize,
    },
}
