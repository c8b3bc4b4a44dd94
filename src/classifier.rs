//! A model file that answers for images.

use std::path::Path;

use dyconv_data::{DataError, DecodeOptions, Image, Transform, load};
use dyconv_engine::{EngineError, Plan, Session};
use dyconv_file::{FileError, Model};
use dyconv_graph::{Shape, TensorSource};
use dyconv_metrics::{KeypointError, answer, softmax, top_k};

use crate::compiled;

/// What may go wrong between a model file and an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model file.
    #[error(transparent)]
    File(#[from] FileError),
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
    NoJoints(usize),
    /// Images with classes, where persons are asked for.
    #[error("the data hold images with classes, expected persons with joints")]
    NoPersons,
    /// The data set has other joints than the model.
    #[error("the data have {data} joints, the model answers with {model}, or their names differ")]
    OtherJoints {
        /// Joints of the data.
        data: usize,
        /// Joints of the model.
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

/// A compiled classifier: image in, probabilities out. Runs on the caller's thread unless told otherwise.
#[derive(Debug)]
pub struct Classifier {
    pub(crate) model: Model<()>,
    pub(crate) session: Session,
    pub(crate) transform: Transform,
}

/// The probabilities for one image.
#[derive(Debug, Clone)]
pub struct Prediction<'a> {
    classes: &'a [String],
    probabilities: Vec<f32>,
}

/// One class with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer<'a> {
    /// Position among the model's classes.
    pub index: usize,
    /// Name of the class.
    pub class: &'a str,
    /// Probability, 0 to 1.
    pub probability: f32,
}

impl Classifier {
    /// Reads, verifies and compiles a model file. Its weights are packed tensor by tensor from the mapped file.
    ///
    /// # Errors
    /// The file's or the engine's.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (model, plan) = compiled::open(path)?;
        Self::with_plan(model, plan)
    }

    /// Compiles a model, whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// The engine's, or those of the preprocessing.
    pub fn new<W: TensorSource>(model: Model<W>) -> Result<Self, Error> {
        let (model, plan) = compiled::compile(model)?;
        Self::with_plan(model, plan)
    }

    /// A classifier whose network is compiled already, for example with narrow kernel banks.
    ///
    /// # Errors
    /// Those of the preprocessing, or that the model is no classifier.
    ///
    /// # Panics
    /// When the plan's input or answer is not of the shape of the model's.
    pub fn with_plan(model: Model<()>, plan: Plan) -> Result<Self, Error> {
        if let Some(skeleton) = model.skeleton() {
            return Err(Error::NotAClassifier(skeleton.joints.len()));
        }
        assert_eq!(plan.input_dims(), model.graph.input_dims(), "a plan of this model");
        assert_eq!(plan.output_shape(), Shape::Vector(model.classes().len()), "a plan of this model");
        let transform = Transform::new(model.preprocessing.clone())?;
        Ok(Self { model, session: Session::try_with_threads(plan, 1)?, transform })
    }

    /// The same classifier on so many threads, the caller's included; on fewer where the system refuses more
    /// ([`threads`](Self::threads)). Answers do not depend on their number.
    ///
    /// # Panics
    /// When there are no threads.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { session: compiled::with_threads(self.session, threads), ..self }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.session.threads()
    }

    /// The same classifier for images of up to so many pixels; 100 million where nobody says.
    #[must_use]
    pub fn with_max_pixels(self, max_pixels: usize) -> Self {
        Self { transform: self.transform.with_max_pixels(max_pixels), ..self }
    }

    /// How image files are to be decoded for the model.
    pub fn decode_options(&self) -> DecodeOptions {
        self.transform.decode_options()
    }

    /// The model, without its weights: the classifier holds them packed.
    pub fn model(&self) -> &Model<()> {
        &self.model
    }

    /// Names of the classes in the order of their indices.
    pub fn classes(&self) -> &[String] {
        self.model.classes()
    }

    /// Answers for a decoded image.
    ///
    /// # Errors
    /// The engine's, or that the network's output is no answer.
    pub fn predict(&mut self, image: &Image) -> Result<Prediction<'_>, Error> {
        let logits = self.session.predict(&self.transform.evaluate(image), 1)?;
        if answer(&logits).is_none() {
            let nan = logits.iter().filter(|x| x.is_nan()).count();
            return Err(Error::NoAnswer { nan, outputs: logits.len() });
        }
        Ok(Prediction { classes: self.model.classes(), probabilities: softmax(&logits) })
    }

    /// Answers for an image file.
    ///
    /// # Errors
    /// When the file cannot be read or is no whole image, and those of [`predict`](Self::predict).
    pub fn predict_file(&mut self, path: &Path) -> Result<Prediction<'_>, Error> {
        self.predict(&load(path, &self.decode_options())?)
    }
}

impl Prediction<'_> {
    /// Probability of every class.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The `k` most probable classes, most probable first.
    pub fn top(&self, k: usize) -> Vec<Answer<'_>> {
        let answer = |(index, probability)| Answer { index, class: &self.classes[index], probability };
        top_k(&self.probabilities, k).into_iter().map(answer).collect()
    }
}
