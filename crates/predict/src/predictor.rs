//! Either kind of model.

use std::sync::Arc;

use dyconv_data::DecodeOptions;
use dyconv_engine::Plan;
use dyconv_file::Model;
use dyconv_task::Task;

use crate::classifier::Classifier;
use crate::error::Error;
use crate::network::Network;
use crate::options::ModelOptions;
use crate::pose::PoseEstimator;

/// A compiled model, by the kind of its predictions.
#[derive(Debug)]
pub enum Predictor {
    /// Classes.
    Classifier(Classifier),
    /// Keypoints.
    Pose(PoseEstimator),
}

impl Predictor {
    /// Creates a predictor from a compiled plan. Of `options`, only threads and image limits are used. `deviation` is
    /// that of an automatically chosen bank.
    ///
    /// # Errors
    /// Errors of the preprocessing, or if there is not enough memory to run the plan.
    ///
    /// # Panics
    /// If the shapes of the plan's input or output are not those of the model.
    pub fn new(
        model: Model<()>,
        plan: impl Into<Arc<Plan>>,
        options: ModelOptions,
        deviation: Option<f64>,
    ) -> Result<Self, Error> {
        let network = Network::new(model, plan.into(), options, deviation)?;
        Ok(match network.model.task {
            Task::Classification { .. } => Self::Classifier(Classifier::of(network)),
            Task::Keypoints(_) => Self::Pose(PoseEstimator::of(network)),
        })
    }

    /// The classifier.
    ///
    /// # Errors
    /// If the model predicts keypoints.
    pub fn into_classifier(self) -> Result<Classifier, Error> {
        match self {
            Self::Classifier(classifier) => Ok(classifier),
            Self::Pose(pose) => Err(not_a_classifier(&pose)),
        }
    }

    /// The keypoint network.
    ///
    /// # Errors
    /// If the model predicts classes.
    pub fn into_pose(self) -> Result<PoseEstimator, Error> {
        match self {
            Self::Pose(pose) => Ok(pose),
            Self::Classifier(classifier) => Err(not_a_keypoint_network(&classifier)),
        }
    }

    /// The classifier, borrowed.
    ///
    /// # Errors
    /// If the model predicts keypoints.
    pub fn as_classifier(&self) -> Result<&Classifier, Error> {
        match self {
            Self::Classifier(classifier) => Ok(classifier),
            Self::Pose(pose) => Err(not_a_classifier(pose)),
        }
    }

    /// The keypoint network, borrowed.
    ///
    /// # Errors
    /// If the model predicts classes.
    pub fn as_pose(&self) -> Result<&PoseEstimator, Error> {
        match self {
            Self::Pose(pose) => Ok(pose),
            Self::Classifier(classifier) => Err(not_a_keypoint_network(classifier)),
        }
    }

    /// Options for decoding image files for the model.
    pub fn decode_options(&self) -> DecodeOptions {
        self.network().transform.decode_options()
    }

    fn network(&self) -> &Network {
        match self {
            Self::Classifier(classifier) => &classifier.network,
            Self::Pose(pose) => &pose.network,
        }
    }

    /// The model without its weights: they are packed in the [plan](Self::plan).
    pub fn model(&self) -> &Model<()> {
        &self.network().model
    }

    /// The compiled network. It can be shared with a [`Session`](dyconv_engine::Session) of your own.
    pub fn plan(&self) -> &Arc<Plan> {
        self.network().plan()
    }

    /// Number of threads of one prediction, including the caller's.
    pub fn threads(&self) -> usize {
        self.network().threads()
    }

    /// Deviation of the outputs for probe inputs from those of exact banks, as a fraction of the largest output; only
    /// for [`Bank::Auto`](crate::Bank::Auto).
    pub fn bank_deviation(&self) -> Option<f64> {
        self.network().deviation
    }
}

fn not_a_classifier(pose: &PoseEstimator) -> Error {
    Error::NotAClassifier(pose.skeleton().joints.len())
}

fn not_a_keypoint_network(classifier: &Classifier) -> Error {
    Error::NotAKeypointNetwork(classifier.classes().len())
}
