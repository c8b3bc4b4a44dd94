//! A model that answers in one way or another.

use std::sync::Arc;

use dyconv_engine::Plan;
use dyconv_file::Model;
use dyconv_task::Task;

use crate::classifier::Classifier;
use crate::error::Error;
use crate::network::Network;
use crate::options::ModelOptions;
use crate::pose::PoseEstimator;

/// A compiled model, by what it answers.
#[derive(Debug)]
pub enum Predictor {
    /// Classes.
    Classifier(Classifier),
    /// Keypoints.
    Pose(PoseEstimator),
}

impl Predictor {
    /// A model whose network is compiled already; of `options` threads and image limits are read. `deviation` is that of a bank
    /// that was chosen for the network.
    ///
    /// # Errors
    /// Those of the preprocessing, or that there is no memory to run the plan.
    ///
    /// # Panics
    /// When the plan's input or answer is not of the shape of the model's.
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
    /// When the model answers with keypoints.
    pub fn into_classifier(self) -> Result<Classifier, Error> {
        match self {
            Self::Classifier(classifier) => Ok(classifier),
            Self::Pose(pose) => Err(Error::NotAClassifier(pose.skeleton().joints.len())),
        }
    }

    /// The keypoint network.
    ///
    /// # Errors
    /// When the model answers with classes.
    pub fn into_pose(self) -> Result<PoseEstimator, Error> {
        match self {
            Self::Pose(pose) => Ok(pose),
            Self::Classifier(classifier) => Err(Error::NotAKeypointNetwork(classifier.classes().len())),
        }
    }

    fn network(&self) -> &Network {
        match self {
            Self::Classifier(classifier) => &classifier.network,
            Self::Pose(pose) => &pose.network,
        }
    }

    /// The model, without its weights: they are packed in the [plan](Self::plan).
    pub fn model(&self) -> &Model<()> {
        &self.network().model
    }

    /// The compiled network. Share it with a [`Session`](dyconv_engine::Session) of your own.
    pub fn plan(&self) -> &Arc<Plan> {
        self.network().plan()
    }

    /// Threads of one prediction, the caller's included.
    pub fn threads(&self) -> usize {
        self.network().threads()
    }

    /// By how much answers to probe inputs deviate from those of exact banks, as a share of the largest answer; of
    /// [`Bank::Auto`](crate::Bank::Auto) only.
    pub fn bank_deviation(&self) -> Option<f64> {
        self.network().deviation
    }
}
