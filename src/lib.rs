//! dyconv: networks whose kernels depend on the input (*Dynamic Convolution: Attention over Convolution Kernels*,
//! CVPR 2020), trained and run in Rust.
//!
//! [`Classifier`] answers for images with classes and [`PoseEstimator`] with keypoints; [`ModelOptions`] chooses threads, kernel
//! banks and precision; [`evaluate`](fn@evaluate) and [`evaluate_poses`] score a model on a data set.
//!
//! ```no_run
//! use dyconv::Classifier;
//!
//! let classifier = Classifier::open("model.safetensors")?;
//! for answer in classifier.predict_file("cat.jpg")?.top(5) {
//!     println!("{:5.1} %  {}", 100.0 * answer.probability, answer.class);
//! }
//! # Ok::<(), dyconv::Error>(())
//! ```
//!
//! The modules give access to the parts: [`graph`] describes networks, [`models`] has the architectures, [`file`](mod@file) the
//! model file, [`engine`] compiles and runs, [`data`] loads images, [`metrics`] scores. With the feature `train`, `nn` has the
//! Burn layers and `train` the training loop; only these two show types of Burn, whose version is pinned. With the features
//! `torch` and `onnx`, the modules of these names read and write state dicts of PyTorch and ONNX files. Without default features
//! nothing that only the program needs is built.
#![forbid(unsafe_code)]

pub use dyconv_predict::{
    Answer, Bank, Classifier, Error, Evaluation, EvaluationOptions, LayerAttention, ModelOptions, PoseAnswer,
    PoseEstimator, PoseEvaluation, PoseEvaluationOptions, Prediction, Predictor, evaluate, evaluate_poses,
    match_classes,
};

pub use dyconv_data as data;
pub use dyconv_engine as engine;
pub use dyconv_file as file;
pub use dyconv_graph as graph;
pub use dyconv_metrics as metrics;
pub use dyconv_models as models;
#[cfg(feature = "train")]
pub use dyconv_nn as nn;
#[cfg(feature = "onnx")]
pub use dyconv_onnx as onnx;
pub use dyconv_task as task;
#[cfg(feature = "torch")]
pub use dyconv_torch as torch;
#[cfg(feature = "train")]
pub use dyconv_train as train;
