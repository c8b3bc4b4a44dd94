//! The task of a network.

use serde::{Deserialize, Serialize};

use crate::skeleton::Skeleton;

/// The meaning of the network's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One logit for each class.
    Classification {
        /// Names in the order of the logits.
        classes: Vec<String>,
    },
    /// One heat map for each joint of the person (or hand, animal …) that fills the image: the output is `[joints,
    /// height, width]`, and the maximum of each map marks the joint.
    /// [`Preprocessing::resize`](crate::Preprocessing::resize) is unused: a box is cropped and resized to `image_size`.
    Keypoints(Skeleton),
}

impl Task {
    /// Class names of a classifier, in the order of the logits; empty for a keypoint network.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Classification { classes } => classes,
            Self::Keypoints(_) => &[],
        }
    }

    /// The skeleton of a keypoint network; `None` for a classifier.
    pub fn skeleton(&self) -> Option<&Skeleton> {
        match self {
            Self::Classification { .. } => None,
            Self::Keypoints(skeleton) => Some(skeleton),
        }
    }
}
