//! Keypoint scores: object keypoint similarity (OKS), average precision, non-maximum suppression.

mod average_precision;
mod nms;
mod oks;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use average_precision::{KeypointScores, MAX_DETECTIONS, keypoint_scores};
pub use nms::{Pose, oks_nms, rescore};
pub use oks::oks;

/// An annotated person (or hand, face, animal): one COCO keypoint annotation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroundTruth {
    /// The image it is in.
    pub image: u64,
    /// By keypoint: (x, y) in pixels of the image, or `None` if it is not labelled (COCO's v = 0).
    pub joints: Vec<Option<[f64; 2]>>,
    /// Area in square pixels (COCO's `area`): the scale of the similarity, and the size of the person (medium, large).
    pub area: f64,
    /// Box as (left, top, width, height) in pixels: detections are compared with it if no keypoint is labelled.
    pub bbox: [f64; 4],
    /// Represents several persons (COCO's `iscrowd`). It does not count, and any number of detections may match it.
    pub crowd: bool,
    /// Does not count, whether detected or not. COCO: `num_keypoints` is 0.
    pub ignore: bool,
}

/// A prediction: the keypoints of one person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The image it is in.
    pub image: u64,
    /// By keypoint: (x, y) in pixels of the image.
    pub joints: Vec<[f64; 2]>,
    /// Confidence in the whole person; only the order of scores matters.
    pub score: f64,
}

/// Persons, detections, poses or sigmas that cannot be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeypointError {
    /// A record whose number of keypoints differs from the number of sigmas.
    #[error("{record} has {got} joints, but there are sigmas for {expected}")]
    Keypoints {
        /// E.g. `person 3 (image 17)`, by its zero-based position in the slice.
        record: String,
        /// Keypoints found.
        got: usize,
        /// Keypoints expected.
        expected: usize,
    },
    /// A number that is NaN, infinite, or negative where it must not be.
    #[error("{record} has {field} {value}, expected {expected}")]
    Number {
        /// E.g. `person 3 (image 17)`, by its zero-based position in the slice.
        record: String,
        /// The field.
        field: &'static str,
        /// The actual value.
        value: f64,
        /// The expected value.
        expected: &'static str,
    },
    /// A sigma that is not a positive finite number.
    #[error("the sigma of joint {joint} is {value}, expected a positive number")]
    Sigma {
        /// Its zero-based position in the slice.
        joint: usize,
        /// The actual value.
        value: f64,
    },
    /// No sigmas.
    #[error("there are no sigmas, so no joints")]
    NotAKeypointNetwork,
}

/// Checks that there are sigmas and that they are positive numbers.
fn check_sigmas(sigmas: &[f64]) -> Result<(), KeypointError> {
    if sigmas.is_empty() {
        return Err(KeypointError::NotAKeypointNetwork);
    }
    match sigmas.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
        Some(joint) => Err(KeypointError::Sigma { joint, value: sigmas[joint] }),
        None => Ok(()),
    }
}

/// Checks one record: its number of keypoints, that every number is finite, and that the area is not negative.
fn check_record<'a>(
    record: impl Fn() -> String,
    (got, expected): (usize, usize),
    joints: impl Iterator<Item = &'a [f64; 2]>,
    (field, other): (&'static str, &[f64]),
    area: Option<f64>,
) -> Result<(), KeypointError> {
    if got != expected {
        return Err(KeypointError::Keypoints { record: record(), got, expected });
    }
    let wrong = |field, value, expected| Err(KeypointError::Number { record: record(), field, value, expected });
    if let Some(&value) = joints.flatten().find(|v| !v.is_finite()) {
        return wrong("a joint at", value, "a finite number");
    }
    if let Some(&value) = other.iter().find(|v| !v.is_finite()) {
        return wrong(field, value, "a finite number");
    }
    match area {
        Some(value) if !(value.is_finite() && value >= 0.0) => wrong("area", value, "a finite number of 0 or more"),
        _ => Ok(()),
    }
}
