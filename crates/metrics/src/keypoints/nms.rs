//! Non-maximum suppression by object keypoint similarity, for networks that predict one pose per box.
//!
//! As in SimpleBaseline: a pose is first rescored from its keypoints ([`rescore`]); then, best first, poses that are too
//! similar to one already kept are dropped. SimpleBaseline uses thresholds of 0.2 and 0.9.

use super::oks::{alike, variances};
use super::{KeypointError, check_record, check_sigmas};

/// A predicted pose, which may be a duplicate of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Pose {
    /// By keypoint: (x, y) in pixels of the image.
    pub joints: Vec<[f64; 2]>,
    /// Area of the person's box in square pixels.
    pub area: f64,
    /// Confidence in the whole person.
    pub score: f64,
}

/// The score of a box times the mean score of the keypoints that score above `least`; 0 if none does.
pub fn rescore(box_score: f64, joint_scores: &[f64], least: f64) -> f64 {
    let sure = || joint_scores.iter().filter(|score| **score > least);
    let count = sure().count();
    if count == 0 { 0.0 } else { box_score * sure().sum::<f64>() / count as f64 }
}

/// The poses of one image to keep: their indices, best first (equal scores in the order of the slice).
///
/// A pose is dropped if its similarity to a better one that was kept is above `threshold`. The similarity of two poses
/// is the mean over all keypoints of exp(−d² / (2 · (2σ)² · area)), with the mean of their areas.
///
/// # Errors
/// If the number of keypoints of a pose differs from the number of sigmas, if a number is NaN or infinite, if an area is
/// negative, or if a sigma is not positive.
pub fn oks_nms(poses: &[Pose], sigmas: &[f64], threshold: f64) -> Result<Vec<usize>, KeypointError> {
    check_sigmas(sigmas)?;
    for (i, p) in poses.iter().enumerate() {
        let joints = (p.joints.len(), sigmas.len());
        check_record(|| format!("pose {i}"), joints, p.joints.iter(), ("score", &[p.score]), Some(p.area))?;
    }
    let variances = variances(sigmas);
    let mut order: Vec<usize> = (0..poses.len()).collect();
    order.sort_by(|&a, &b| poses[b].score.partial_cmp(&poses[a].score).expect("scores are finite"));
    let mut kept: Vec<usize> = Vec::new();
    for pose in order {
        if kept.iter().all(|&better| between(&poses[better], &poses[pose], &variances) <= threshold) {
            kept.push(pose);
        }
    }
    Ok(kept)
}

/// Similarity of two poses.
fn between(a: &Pose, b: &Pose, variances: &[f64]) -> f64 {
    let area = (a.area + b.area) / 2.0 + f64::EPSILON;
    let pairs = a.joints.iter().zip(&b.joints).zip(variances);
    let sum: f64 = pairs.map(|((a, b), variance)| alike([a[0] - b[0], a[1] - b[1]], *variance, area)).sum();
    sum / variances.len() as f64
}
