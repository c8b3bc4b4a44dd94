//! How a model is made ready to answer.

use std::path::Path;

use dyconv_data::DecodeOptions;
use dyconv_engine::{Options, Precision};
#[cfg(not(target_family = "wasm"))]
use dyconv_file::FileError;
use dyconv_file::Model;
use dyconv_graph::TensorSource;

use crate::bank::Bank;
use crate::error::Error;
use crate::predictor::Predictor;

/// Threads, kernel banks, precision and image limits of a [`Predictor`].
///
/// ```
/// use dyconv_predict::{Bank, ModelOptions};
///
/// let options = ModelOptions::new().threads(4).bank(Bank::Auto);
/// assert_eq!(options.threads, 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Threads of one prediction, the caller's included; 1 unless set. Fewer where the system refuses more. Answers do not
    /// depend on their number.
    pub threads: usize,
    /// How kernel banks are stored; exact unless set.
    pub bank: Bank,
    /// What convolutions multiply; f32 unless set.
    pub precision: Precision,
    /// Largest image that is decoded, in pixels; 100 million unless set.
    pub max_pixels: usize,
}

impl Default for ModelOptions {
    fn default() -> Self {
        let max_pixels = DecodeOptions::default().max_pixels;
        Self { threads: 1, bank: Bank::default(), precision: Precision::default(), max_pixels }
    }
}

impl ModelOptions {
    /// One thread, exact banks, f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// Threads of one prediction, the caller's included.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        assert!(threads > 0, "a prediction takes at least the caller's thread");
        Self { threads, ..self }
    }

    /// How kernel banks are stored.
    #[must_use]
    pub fn bank(self, bank: Bank) -> Self {
        Self { bank, ..self }
    }

    /// What convolutions multiply.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Largest image that is decoded, in pixels.
    #[must_use]
    pub fn max_pixels(self, max_pixels: usize) -> Self {
        Self { max_pixels, ..self }
    }

    /// Reads, verifies and compiles a model file. Its weights are packed tensor by tensor from the mapped file, which is closed
    /// again.
    ///
    /// # Errors
    /// Those of the file, the engine and the preprocessing; they name the file.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(self, path: impl AsRef<Path>) -> Result<Predictor, Error> {
        let path = path.as_ref();
        self.compile(Model::open(path)?).map_err(|error| match error {
            // A tensor that turned out to be damaged when it was packed: the message names the file too.
            Error::Engine(dyconv_engine::EngineError::Weights(e)) => {
                FileError { path: path.to_owned(), kind: e.into() }.into()
            }
            error => error,
        })
    }

    /// Verifies and compiles the bytes of a model file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(self, bytes: &[u8]) -> Result<Predictor, Error> {
        self.compile(Model::from_bytes(bytes)?)
    }

    /// Compiles a model, whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// Those of the engine and the preprocessing.
    pub fn compile<W: TensorSource>(self, model: Model<W>) -> Result<Predictor, Error> {
        let (model, weights) = model.split();
        let options = Options { precision: self.precision, ..Options::default() };
        let (plan, deviation) = self.bank.compile(&model.graph, &weights, model.tau, options)?;
        Predictor::new(model, plan, self, deviation)
    }
}
