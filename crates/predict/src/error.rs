//! What may go wrong between a model and an answer.

use dyconv_data::DataError;
use dyconv_engine::EngineError;
use dyconv_file::{FileError, ModelFileErrorKind};
use dyconv_metrics::KeypointError;

/// What may go wrong between a model file and an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The bytes of a model.
    #[error("the bytes of the model: {0}")]
    Bytes(#[from] ModelFileErrorKind),
    /// An image or a data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Compiling or running the network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data set has a class that the model was not trained on.
    #[error("the model does not know the class `{class}` of the data; it knows {known}")]
    UnknownClass {
        /// The class.
        class: String,
        /// Some that the model knows.
        known: String,
    },
    /// A model whose answers are joints, where classes are asked for.
    #[error("the model answers with {0} joints, not with classes: it is a keypoint network")]
    NotAClassifier(usize),
    /// A model whose answers are classes, where joints are asked for.
    #[error("the model answers with {0} classes, not with joints: it is a classifier")]
    NotAKeypointNetwork(usize),
    /// Images with classes, where persons are asked for.
    #[error("the data hold images with classes, expected persons with joints")]
    NoPersons,
    /// The data set has other joints than the model.
    #[error("the data have {data} joints, the model answers with {model}, or their names differ")]
    OtherKeypoints {
        /// Keypoints of the data.
        data: usize,
        /// Keypoints of the model.
        model: usize,
    },
    /// Answers that cannot be scored.
    #[error("the answers cannot be scored: {0}")]
    Score(#[from] KeypointError),
    /// The part of the data set that was asked for is empty.
    #[error("the part of the data to score holds no images; name another split")]
    NothingToScore,
    /// No image of the part to score can be read.
    #[error("none of the {images} images to score can be read; the first: {first}")]
    NothingRead {
        /// How many there are.
        images: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// NaN or infinity in the output of a keypoint network.
    #[error("no answer: {unknown} of {joints} heat maps hold NaN or infinity; are the model's weights damaged?")]
    NoKeypoints {
        /// Heat maps with such a value.
        unknown: usize,
        /// All heat maps: joints of all persons.
        joints: usize,
    },
    /// NaN in the output of a classifier.
    #[error("no answer: {nan} of the network's {outputs} outputs are NaN; are the model's weights damaged?")]
    NoAnswer {
        /// Outputs that are NaN.
        nan: usize,
        /// All outputs: classes of the model.
        outputs: usize,
    },
}
