//! dyconv: networks whose kernels depend on the input (*Dynamic Convolution: Attention over Convolution Kernels*,
//! CVPR 2020), trained and run in Rust.
//!
//! This crate is the façade: [`Classifier`] answers for images in classes and [`PoseEstimator`] in joints,
//! [`evaluate`](fn@evaluate) and [`evaluate_poses`] score a model on a data set, and the modules below give access to every
//! part. Without the feature `train` nothing of Burn is built.
//!
//! ```no_run
//! use dyconv::Classifier;
//!
//! let mut classifier = Classifier::open("model.safetensors".as_ref())?;
//! for answer in classifier.predict_file("cat.jpg".as_ref())?.top(5) {
//!     println!("{:5.1} %  {}", 100.0 * answer.probability, answer.class);
//! }
//! # Ok::<(), dyconv::Error>(())
//! ```
#![forbid(unsafe_code)]

mod classifier;
mod compiled;
mod evaluate;
mod evaluate_pose;
mod pose;

pub use classifier::{Answer, Classifier, Error, Prediction};
pub use evaluate::{Evaluation, EvaluationOptions, evaluate, match_classes};
pub use evaluate_pose::{PoseAnswer, PoseEvaluation, PoseEvaluationOptions, evaluate_poses};
pub use pose::PoseEstimator;

pub use dyconv_data as data;
pub use dyconv_engine as engine;
pub use dyconv_file as file;
pub use dyconv_graph as graph;
pub use dyconv_metrics as metrics;
pub use dyconv_models as models;
#[cfg(feature = "train")]
pub use dyconv_nn as nn;
pub use dyconv_task as task;
#[cfg(feature = "train")]
pub use dyconv_train as train;
