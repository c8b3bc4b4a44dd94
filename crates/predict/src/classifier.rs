//! Models that predict classes.

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

/// A compiled classifier: image in, probabilities out. Share it between threads by reference or in an [`Arc`]; all of
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

/// A class with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer<'a> {
    /// Index among the model's classes.
    pub index: usize,
    /// Name of the class.
    pub class: &'a str,
    /// Probability, from 0 to 1.
    pub probability: f32,
}

impl Classifier {
    pub(crate) fn of(network: Network) -> Self {
        Self { network }
    }

    /// Reads, verifies and compiles a model file for one thread; [`ModelOptions`] has more options.
    ///
    /// # Errors
    /// Errors of the file and the engine, or if the model is not a classifier.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        ModelOptions::new().open(path)?.into_classifier()
    }

    /// Verifies and compiles the bytes of a model file.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        ModelOptions::new().from_bytes(bytes)?.into_classifier()
    }

    /// Compiles a model whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// Errors of the engine and the preprocessing, or if the model is not a classifier.
    pub fn new<W: TensorSource>(model: Model<W>) -> Result<Self, Error> {
        ModelOptions::new().compile(model)?.into_classifier()
    }

    /// Number of threads of one prediction, including the caller's.
    pub fn threads(&self) -> usize {
        self.network.threads()
    }

    /// Options for decoding image files for the model.
    pub fn decode_options(&self) -> DecodeOptions {
        self.network.transform.decode_options()
    }

    /// The model without its weights: they are packed in the [plan](Self::plan).
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

    /// Classifies a decoded image. Use [`Image::new`] for raw pixels.
    ///
    /// # Errors
    /// Errors of the engine, or if the network's output is NaN.
    pub fn predict(&self, image: &Image) -> Result<Prediction<'_>, Error> {
        self.prediction(&self.logits(&self.preprocess(image), 1)?)
    }

    /// Classifies the bytes of an image file: JPEG, PNG, WebP, BMP, GIF or TIFF.
    ///
    /// # Errors
    /// If they are not a complete image, and the errors of [`predict`](Self::predict).
    pub fn predict_bytes(&self, bytes: &[u8]) -> Result<Prediction<'_>, Error> {
        self.predict(&decode(bytes, "the image", &self.decode_options())?)
    }

    /// Classifies an image file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a complete image, and the errors of [`predict`](Self::predict).
    #[cfg(not(target_family = "wasm"))]
    pub fn predict_file(&self, path: impl AsRef<Path>) -> Result<Prediction<'_>, Error> {
        self.predict(&load(path.as_ref(), &self.decode_options())?)
    }

    /// Classifies several images in one run, which reads the weights once for up to eight of them. The results are
    /// bit-identical to those of [`predict`](Self::predict).
    ///
    /// # Errors
    /// As for [`predict`](Self::predict), for any of the images.
    pub fn predict_batch(&self, images: &[Image]) -> Result<Vec<Prediction<'_>>, Error> {
        let inputs: Vec<f32> = images.iter().flat_map(|image| self.preprocess(image)).collect();
        let logits = self.logits(&inputs, images.len())?;
        logits.chunks_exact(self.classes().len()).map(|row| self.prediction(row)).collect()
    }

    /// Like [`predict`](Self::predict), and also returns the attention of every dynamic layer. Takes more memory and
    /// time, because every value is kept.
    ///
    /// # Errors
    /// As for [`predict`](Self::predict).
    pub fn predict_with_attention(&self, image: &Image) -> Result<(Prediction<'_>, Vec<LayerAttention>), Error> {
        let (logits, attention) = self.network.run_with_attention(&self.preprocess(image))?;
        Ok((self.prediction(&logits)?, attention))
    }

    /// The network's input for an image, `[C, H, W]`: resized, cropped and normalized as the model specifies.
    pub fn preprocess(&self, image: &Image) -> Vec<f32> {
        self.network.transform.evaluate(image)
    }

    /// Logits `[batch, classes]` of preprocessed inputs `[batch, C, H, W]`.
    ///
    /// # Errors
    /// If the input has the wrong length.
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
    /// Probabilities of all classes.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The `k` most probable classes, most probable first.
    pub fn top(&self, k: usize) -> Vec<Answer<'_>> {
        let answer = |(index, probability)| Answer { index, class: &self.classes[index], probability };
        top_k(&self.probabilities, k).into_iter().map(answer).collect()
    }
}
