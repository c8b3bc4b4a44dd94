//! Object keypoint similarity (OKS) of an annotated person and a prediction, in 0..=1.
//!
//! The mean over the labelled keypoints of exp(−d² / (2 · (2σ)² · area)), where d is the distance in pixels, σ the keypoint's
//! sigma and `area` the person's area. For a person without labelled keypoints the box is used, extended by its own size
//! on each side as COCO does (from left − width to left + 2 · width): keypoints inside it have distance 0, others the
//! distance to its border, and the mean is over all keypoints.

use super::GroundTruth;

/// Similarity of an annotated person and predicted keypoints (x, y), in 0..=1.
///
/// `sigmas` has a standard deviation for each keypoint, as a fraction of the square root of the area. `Skeleton::coco`
/// of the crate `dyconv-task` has the ones of COCO's 17 keypoints.
///
/// ```
/// use dyconv_metrics::{GroundTruth, oks};
///
/// let bbox = [0.0, 0.0, 10.0, 10.0];
/// let joints = vec![Some([3.0, 4.0]), None];
/// let person = GroundTruth { image: 1, joints, area: 100.0, bbox, crowd: false, ignore: false };
/// assert_eq!(oks(&person, &[[3.0, 4.0], [9.0, 9.0]], &[0.1, 0.1]), 1.0);
/// // Two pixels off, where 2σ · √area is two pixels: exp(−1/2).
/// assert!((oks(&person, &[[5.0, 4.0], [9.0, 9.0]], &[0.1, 0.1]) - (-0.5f64).exp()).abs() < 1e-12);
/// ```
///
/// # Panics
/// If the numbers of keypoints and sigmas differ.
pub fn oks(person: &GroundTruth, joints: &[[f64; 2]], sigmas: &[f64]) -> f64 {
    assert!(
        person.joints.len() == sigmas.len() && joints.len() == sigmas.len(),
        "{} and {} joints, {} sigmas",
        person.joints.len(),
        joints.len(),
        sigmas.len()
    );
    similarity(person, joints, &variances(sigmas))
}

/// (2σ)² of every keypoint.
pub(super) fn variances(sigmas: &[f64]) -> Vec<f64> {
    sigmas.iter().map(|s| (2.0 * s).powi(2)).collect()
}

/// [`oks`], given the keypoints' [`variances`].
pub(super) fn similarity(person: &GroundTruth, joints: &[[f64; 2]], variances: &[f64]) -> f64 {
    let area = person.area + f64::EPSILON;
    let labelled = person.joints.iter().flatten().count();
    let mut sum = 0.0;
    if labelled > 0 {
        for ((truth, at), variance) in person.joints.iter().zip(joints).zip(variances) {
            let Some(truth) = truth else { continue };
            sum += alike([at[0] - truth[0], at[1] - truth[1]], *variance, area);
        }
        return sum / labelled as f64;
    }
    let [left, top, width, height] = person.bbox;
    let outside = |at: f64, start: f64, size: f64| (start - size - at).max(0.0) + (at - (start + size * 2.0)).max(0.0);
    for (at, variance) in joints.iter().zip(variances) {
        sum += alike([outside(at[0], left, width), outside(at[1], top, height)], *variance, area);
    }
    sum / joints.len() as f64
}

/// exp(−d² / (2 · variance · area)) of a displacement.
pub(super) fn alike([dx, dy]: [f64; 2], variance: f64, area: f64) -> f64 {
    (-((dx * dx + dy * dy) / variance / area / 2.0)).exp()
}
