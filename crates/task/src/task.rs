//! The task of a network.

use serde::{Deserialize, Serialize};

use crate::preprocessing::{CropMode, Interpolation, Preprocessing};
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
    /// [`Preprocessing::resize`] is unused: a box is cropped and resized to `image_size`. Interpolation and crop mode are
    /// the defaults ([`Task::check_preprocessing`]).
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

    /// Checks that the network's answer can be had with this preprocessing. The crop of a person is one affine map, drawn
    /// bilinearly: other kinds of interpolation and crop are for classifiers.
    ///
    /// # Errors
    /// A sentence that names the field of the preprocessing and the expected value.
    pub fn check_preprocessing(&self, preprocessing: &Preprocessing) -> Result<(), String> {
        let Preprocessing { interpolation, crop, .. } = preprocessing;
        let refuse = |field: &str, found: &str, usual: &str| {
            Err(format!(
                "{field} is {found}, and a keypoint network has none but {usual}: the box of a person is one affine map"
            ))
        };
        match self {
            Self::Classification { .. } => Ok(()),
            Self::Keypoints(_) if *interpolation != Interpolation::default() => {
                refuse("interpolation", interpolation.name(), Interpolation::default().name())
            }
            Self::Keypoints(_) if *crop != CropMode::default() => {
                refuse("crop", crop.name(), CropMode::default().name())
            }
            Self::Keypoints(_) => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keypoint_network_has_no_choice_of_filter_and_crop() {
        let usual = Preprocessing::usual(3, [256, 192], 256);
        let bicubic = Preprocessing { interpolation: Interpolation::Bicubic, ..usual.clone() };
        let border = Preprocessing { crop: CropMode::Border, ..usual.clone() };
        let classes = Task::Classification { classes: vec!["cat".into()] };
        for any in [&usual, &bicubic, &border] {
            assert_eq!(classes.check_preprocessing(any), Ok(()));
        }
        let joints = Task::Keypoints(Skeleton::coco());
        assert_eq!(joints.check_preprocessing(&usual), Ok(()));
        let error = joints.check_preprocessing(&bicubic).unwrap_err();
        assert!(error.starts_with("interpolation is bicubic, and a keypoint network has none but bilinear"), "{error}");
        let error = joints.check_preprocessing(&border).unwrap_err();
        assert!(error.starts_with("crop is border, and a keypoint network has none but center"), "{error}");
    }
}
