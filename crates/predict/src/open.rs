//! Creates a predictor from a model file, its bytes, or a model.

#[cfg(not(target_family = "wasm"))]
use std::path::Path;

use dyconv_engine::Options;
#[cfg(not(target_family = "wasm"))]
use dyconv_file::FileError;
use dyconv_file::Model;
use dyconv_graph::TensorSource;

use crate::error::Error;
use crate::options::ModelOptions;
use crate::predictor::Predictor;

impl ModelOptions {
    /// Reads, verifies and compiles a model file. Its weights are packed tensor by tensor from the mapped file, which
    /// is then closed.
    ///
    /// # Errors
    /// Errors of the file, the engine and the preprocessing; they name the file.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(self, path: impl AsRef<Path>) -> Result<Predictor, Error> {
        let path = path.as_ref();
        self.compile(Model::open(path)?).map_err(|error| match error {
            // Damage to a tensor that is found during packing: the message must name the file too.
            Error::Engine(dyconv_engine::EngineError::Weights(e)) => {
                FileError { path: path.to_owned(), kind: e.into() }.into()
            }
            error => error,
        })
    }

    /// Verifies and compiles the bytes of a model file.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_bytes(self, bytes: &[u8]) -> Result<Predictor, Error> {
        self.compile(Model::from_bytes(bytes)?)
    }

    /// Compiles a model whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// Errors of the engine and the preprocessing.
    pub fn compile<W: TensorSource>(self, model: Model<W>) -> Result<Predictor, Error> {
        let (model, weights) = model.split();
        let options = Options { precision: self.precision, ..Options::default() };
        let (plan, deviation) = self.bank.compile(&model.graph, &weights, model.tau, options)?;
        Predictor::new(model, plan, self, deviation)
    }
}
