//! A model that answers with classes.

#[cfg(not(target_family = "wasm"))]
use std::path::Path;
use std::sync::Arc;

#[cfg(not(target_family = "wasm"))]
use dyconv_data::load;
use dyconv_data::{DecodeOptions, Image, decode};
use dyconv_engine::Plan;
use dyconv_file::Model;
use dyconv_graph::TensorSource;
use dyconv_metrics::{answer, softmax, top_k};

use crate::attention::LayerAttention;
use crate::error::Error;
use crate::network::Network;
use crate::options::ModelOptions;

/// A compiled classifier: image in, probabilities out. Share it between threads by reference or in an [`Arc`]; every one of
/// them may predict at the same time.
///
/// ```no_run
/// use dyconv_predict::Classifier;
///
/// let classifier = Classifier::open("model.safetensors")?;
/// std::thread::scope(|scope| {
///     for path in ["cat.jpg", "dog.jpg"] {
///         let classifier = &classifier;
///         scope.spawn(move || classifier.predict_file(path).map(|found| println!("{}", found.top(1)[0].class)));
///     }
/// });
/// # Ok::<(), dyconv_predict::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    pub(crate) network: Network,
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
    pub(crate) fn of(network: Network) -> Self {
        Self { network }
    }

    /// Reads, verifies and compiles a model file for one thread; [`ModelOptions`] has more choices.
    ///
    /// # Errors
    /// Those of the file and the engine, or that the model is no classifier.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        ModelOptions::new().open(path)?.into_classifier()
    }

    /// Verifies and compiles the bytes of a model file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        ModelOptions::new().from_bytes(bytes)?.into_classifier()
    }

    /// Compiles a model, whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// Those of the engine and the preprocessing, or that the model is no classifier.
    pub fn new<W: TensorSource>(model: Model<W>) -> Result<Self, Error> {
        ModelOptions::new().compile(model)?.into_classifier()
    }

    /// Threads of one prediction, the caller's included.
    pub fn threads(&self) -> usize {
        self.network.threads()
    }

    /// How image files are to be decoded for the model.
    pub fn decode_options(&self) -> DecodeOptions {
        self.network.transform.decode_options()
    }

    /// The model, without its weights: they are packed in the [plan](Self::plan).
    pub fn model(&self) -> &Model<()> {
        &self.network.model
    }

    /// The compiled network.
    pub fn plan(&self) -> &Arc<Plan> {
        self.network.plan()
    }

    /// Names of the classes in the order of their indices.
    pub fn classes(&self) -> &[String] {
        self.network.model.classes()
    }

    /// Answers for a decoded image. Raw pixels become one by [`Image::new`].
    ///
    /// # Errors
    /// The engine's, or that the network's output is no answer.
    pub fn predict(&self, image: &Image) -> Result<Prediction<'_>, Error> {
        self.prediction(&self.logits(&self.preprocess(image), 1)?)
    }

    /// Answers for the bytes of an image file: JPEG, PNG, WebP, BMP, GIF or TIFF.
    ///
    /// # Errors
    /// When they are no whole image, and those of [`predict`](Self::predict).
    pub fn predict_bytes(&self, bytes: &[u8]) -> Result<Prediction<'_>, Error> {
        self.predict(&decode(bytes, "the image", &self.decode_options())?)
    }

    /// Answers for an image file.
    ///
    /// # Errors
    /// When the file cannot be read or is no whole image, and those of [`predict`](Self::predict).
    #[cfg(not(target_family = "wasm"))]
    pub fn predict_file(&self, path: impl AsRef<Path>) -> Result<Prediction<'_>, Error> {
        self.predict(&load(path.as_ref(), &self.decode_options())?)
    }

    /// Answers for several images in one run, which reads weights once for up to eight of them. The answers are those of
    /// [`predict`](Self::predict), bit for bit.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), for any of the images.
    pub fn predict_batch(&self, images: &[Image]) -> Result<Vec<Prediction<'_>>, Error> {
        let inputs: Vec<f32> = images.iter().flat_map(|image| self.preprocess(image)).collect();
        let logits = self.logits(&inputs, images.len())?;
        logits.chunks_exact(self.classes().len()).map(|row| self.prediction(row)).collect()
    }

    /// The answer of [`predict`](Self::predict) and what the attention of every dynamic layer was. Takes more memory and
    /// time, as every value is kept.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_with_attention(&self, image: &Image) -> Result<(Prediction<'_>, Vec<LayerAttention>), Error> {
        let (logits, attention) = self.network.run_with_attention(&self.preprocess(image))?;
        Ok((self.prediction(&logits)?, attention))
    }

    /// The network's input for an image, `[C, H, W]`: resized, cropped and normalized as the model says.
    pub fn preprocess(&self, image: &Image) -> Vec<f32> {
        self.network.transform.evaluate(image)
    }

    /// Logits `[batch, classes]` of preprocessed inputs `[batch, C, H, W]`.
    ///
    /// # Errors
    /// When the input has the wrong length.
    pub fn logits(&self, input: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.network.run(input, batch)
    }

    fn prediction(&self, logits: &[f32]) -> Result<Prediction<'_>, Error> {
        if answer(logits).is_none() {
            let nan = logits.iter().filter(|x| x.is_nan()).count();
            return Err(Error::NoAnswer { nan, outputs: logits.len() });
        }
        Ok(Prediction { classes: self.classes(), probabilities: softmax(logits) })
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
