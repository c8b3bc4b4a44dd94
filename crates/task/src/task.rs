//! What a network is for.

use serde::{Deserialize, Serialize};

use crate::skeleton::Skeleton;

/// What the network's answer means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One logit for each class.
    Classification {
        /// Names in the order of the logits.
        classes: Vec<String>,
    },
    /// One heat map for each joint of the person (or hand, animal …) that fills the image: the answer is a map
    /// `[joints, height, width]`, and the largest value of each is where the joint is. [`Preprocessing::resize`](crate::Preprocessing::resize) has no
    /// meaning: a box is cut out and brought to `image_size`.
    Keypoints(Skeleton),
}

impl Task {
    /// Class names of a classifier, in the order of the logits; none of a keypoint network.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Classification { classes } => classes,
            Self::Keypoints(_) => &[],
        }
    }

    /// The skeleton of a keypoint network.
    pub fn skeleton(&self) -> Option<&Skeleton> {
        match self {
            Self::Classification { .. } => None,
            Self::Keypoints(skeleton) => Some(skeleton),
        }
    }
}
