//! Predictions of classes, keypoints and attention from a model file, or its bytes, and an image.
//!
//! [`Classifier`] predicts classes, [`PoseEstimator`] keypoints; [`Predictor`] is either of them, depending on the
//! model file. All take `&self`: one instance serves any number of threads, each with its own session over one shared
//! plan. [`ModelOptions`] sets threads, kernel banks and precision. [`evaluate`] and [`evaluate_poses`] score a model
//! on a data set.
//!
//! ```no_run
//! use dyconv_predict::{Bank, ModelOptions};
//!
//! let classifier = ModelOptions::new().threads(2).bank(Bank::Bf16).open("model.safetensors")?.into_classifier()?;
//! let bytes = std::fs::read("cat.jpg")?;
//! for answer in classifier.predict_bytes(&bytes)?.top(5) {
//!     println!("{:5.1} %  {}", 100.0 * answer.probability, answer.class);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate compiles for `wasm32-unknown-unknown`, where models and images come from bytes and one thread computes. It
//! does not depend on the command line, HTTP, Python or Burn.
#![forbid(unsafe_code)]

mod attention;
mod bank;
mod classifier;
mod error;
mod evaluate;
mod network;
mod open;
mod options;
mod pose;
mod predictor;

pub use attention::LayerAttention;
pub use bank::{AUTO_BOUND, Bank};
pub use classifier::{Answer, Classifier, Prediction};
pub use error::Error;
pub use evaluate::classes::{Evaluation, EvaluationOptions, evaluate, match_classes};
pub use evaluate::keypoints::{PoseAnswer, PoseEvaluation, PoseEvaluationOptions, evaluate_poses};
pub use options::ModelOptions;
pub use pose::PoseEstimator;
pub use predictor::Predictor;
