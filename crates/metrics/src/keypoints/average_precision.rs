//! Average precision and recall over object keypoint similarity, as COCO's evaluation (`COCOeval` of pycocotools with
//! `iouType="keypoints"`) defines them.
//!
//! 1. In every image the [`MAX_DETECTIONS`] best detections, best first, are each matched with the most similar
//!    unmatched person whose similarity reaches the threshold. Persons that count come before ignored ones; a crowd can
//!    be matched many times.
//! 2. A detection that matches an ignored person, or matches none and lies outside the area range, is neither right nor
//!    wrong.
//! 3. All detections of all images, best first, give precision and recall after each. Precision is made monotone and
//!    read at 101 recalls; its mean is the average precision. The final recall is the reported recall.
//!
//! This is done for ten similarity thresholds (0.50, 0.55, … 0.95) and three area ranges. Persons outside the range are
//! ignored.
//! Equal scores are ordered by image number, then by position in the slice.

use std::collections::BTreeMap;

use serde::Serialize;

use super::oks::{similarity, variances};
use super::{Detection, GroundTruth, KeypointError, check_record, check_sigmas};

/// Number of detections per image that count: the ones with the highest scores.
pub const MAX_DETECTIONS: usize = 20;

/// Number of similarity thresholds.
const THRESHOLDS: usize = 10;
/// Index of the threshold 0.75.
const AT_75: usize = 5;
/// Smallest and largest area, in square pixels: all, medium, large.
const AREAS: [[f64; 2]; 3] = [[0.0, 1e10], [32.0 * 32.0, 96.0 * 96.0], [96.0 * 96.0, 1e10]];
/// Number of recalls at which precision is read.
const RECALLS: usize = 101;

/// COCO's ten numbers for keypoints, each in 0..=1. `None` if no person of that size counts (COCO writes −1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KeypointScores {
    /// Average precision, the mean over the similarities 0.50, 0.55, … 0.95.
    #[serde(rename = "AP")]
    pub ap: Option<f64>,
    /// Average precision at a similarity of 0.50.
    #[serde(rename = "AP50")]
    pub ap50: Option<f64>,
    /// Average precision at a similarity of 0.75.
    #[serde(rename = "AP75")]
    pub ap75: Option<f64>,
    /// Average precision for persons of medium size, 32² to 96² square pixels.
    #[serde(rename = "AP_M")]
    pub ap_medium: Option<f64>,
    /// Average precision for large persons, of 96² square pixels and more.
    #[serde(rename = "AP_L")]
    pub ap_large: Option<f64>,
    /// Average recall, the mean over the similarities 0.50, 0.55, … 0.95.
    #[serde(rename = "AR")]
    pub ar: Option<f64>,
    /// Recall at a similarity of 0.50.
    #[serde(rename = "AR50")]
    pub ar50: Option<f64>,
    /// Recall at a similarity of 0.75.
    #[serde(rename = "AR75")]
    pub ar75: Option<f64>,
    /// Average recall for persons of medium size.
    #[serde(rename = "AR_M")]
    pub ar_medium: Option<f64>,
    /// Average recall for large persons.
    #[serde(rename = "AR_L")]
    pub ar_large: Option<f64>,
}

impl KeypointScores {
    /// Names and values in COCO's order.
    pub fn stats(&self) -> [(&'static str, Option<f64>); 10] {
        [
            ("AP", self.ap),
            ("AP50", self.ap50),
            ("AP75", self.ap75),
            ("AP_M", self.ap_medium),
            ("AP_L", self.ap_large),
            ("AR", self.ar),
            ("AR50", self.ar50),
            ("AR75", self.ar75),
            ("AR_M", self.ar_medium),
            ("AR_L", self.ar_large),
        ]
    }
}

/// The outcome of a detection at one threshold and area range.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Right,
    Wrong,
    Ignored,
}

/// A detection after comparison with the persons of its image.
struct Judged {
    score: f64,
    /// By area range and threshold.
    outcomes: [[Outcome; THRESHOLDS]; AREAS.len()],
}

/// Scores detections against annotated persons. `sigmas` as in [`oks`](super::oks()).
///
/// Detections in images without persons are wrong. The area of a detection is that of the smallest box around its keypoints.
///
/// # Errors
/// If the number of keypoints of a person or a detection differs from the number of sigmas, if a number is NaN or infinite, if an
/// area is negative, or if a sigma is not positive.
pub fn keypoint_scores(
    truth: &[GroundTruth],
    detections: &[Detection],
    sigmas: &[f64],
) -> Result<KeypointScores, KeypointError> {
    check(truth, detections, sigmas)?;
    let mut images: BTreeMap<u64, (Vec<&GroundTruth>, Vec<&Detection>)> = BTreeMap::new();
    truth.iter().for_each(|person| images.entry(person.image).or_default().0.push(person));
    detections.iter().for_each(|detection| images.entry(detection.image).or_default().1.push(detection));

    let variances = variances(sigmas);
    let mut to_find = [0; AREAS.len()];
    let mut judged = Vec::with_capacity(detections.len());
    for (persons, mut detections) in images.into_values() {
        detections.sort_by(|a, b| b.score.partial_cmp(&a.score).expect("scores are finite"));
        detections.truncate(MAX_DETECTIONS);
        judge(&persons, &detections, &variances, &mut to_find, &mut judged);
    }
    judged.sort_by(|a, b| b.score.partial_cmp(&a.score).expect("scores are finite"));

    let curves: [Option<Curves>; AREAS.len()] =
        std::array::from_fn(|area| (to_find[area] > 0).then(|| Curves::new(&judged, area, to_find[area])));
    let read = |area: usize, what: fn(&Curves) -> f64| curves[area].as_ref().map(what);
    Ok(KeypointScores {
        ap: read(0, |c| mean(&c.precision)),
        ap50: read(0, |c| c.precision[0]),
        ap75: read(0, |c| c.precision[AT_75]),
        ap_medium: read(1, |c| mean(&c.precision)),
        ap_large: read(2, |c| mean(&c.precision)),
        ar: read(0, |c| mean(&c.recall)),
        ar50: read(0, |c| c.recall[0]),
        ar75: read(0, |c| c.recall[AT_75]),
        ar_medium: read(1, |c| mean(&c.recall)),
        ar_large: read(2, |c| mean(&c.recall)),
    })
}

fn check(truth: &[GroundTruth], detections: &[Detection], sigmas: &[f64]) -> Result<(), KeypointError> {
    check_sigmas(sigmas)?;
    for (i, p) in truth.iter().enumerate() {
        let record = || format!("person {i} (image {})", p.image);
        let joints = p.joints.iter().flatten();
        check_record(record, (p.joints.len(), sigmas.len()), joints, ("bbox", &p.bbox), Some(p.area))?;
    }
    for (i, d) in detections.iter().enumerate() {
        let record = || format!("detection {i} (image {})", d.image);
        check_record(record, (d.joints.len(), sigmas.len()), d.joints.iter(), ("score", &[d.score]), None)?;
    }
    Ok(())
}

/// The similarity threshold of the given index, rounded as NumPy's `linspace(0.5, 0.95, 10)` rounds it.
fn threshold(index: usize) -> f64 {
    if index + 1 == THRESHOLDS { 0.95 } else { index as f64 * ((0.95 - 0.5) / 9.0) + 0.5 }
}

/// Compares the persons and the detections (best first) of one image. Adds to the number of persons that count and
/// appends the detections.
fn judge(
    persons: &[&GroundTruth],
    detections: &[&Detection],
    variances: &[f64],
    to_find: &mut [usize; AREAS.len()],
    judged: &mut Vec<Judged>,
) {
    let first = judged.len();
    judged.extend(
        detections.iter().map(|d| Judged { score: d.score, outcomes: [[Outcome::Wrong; THRESHOLDS]; AREAS.len()] }),
    );
    // Row by row: detection, person.
    let alike: Vec<f64> =
        detections.iter().flat_map(|d| persons.iter().map(|p| similarity(p, &d.joints, variances))).collect();
    let areas: Vec<f64> = detections.iter().map(|d| box_area(&d.joints)).collect();
    for (area, [smallest, largest]) in AREAS.into_iter().enumerate() {
        let outside = |size: f64| size < smallest || size > largest;
        let ignored = |p: &GroundTruth| p.crowd || p.ignore || outside(p.area);
        // Those that count come first; both parts keep their order.
        let (mut order, rest): (Vec<usize>, Vec<usize>) = (0..persons.len()).partition(|&i| !ignored(persons[i]));
        let counting = order.len();
        order.extend(rest);
        to_find[area] += counting;
        let mut taken = vec![false; persons.len()];
        for at in 0..THRESHOLDS {
            taken.fill(false);
            for (d, judged) in judged[first..].iter_mut().enumerate() {
                let row = &alike[d * persons.len()..][..persons.len()];
                judged.outcomes[area][at] = match best(row, threshold(at), &order, counting, &taken, persons) {
                    Some(place) => {
                        taken[order[place]] = true;
                        if place < counting { Outcome::Right } else { Outcome::Ignored }
                    }
                    None if outside(areas[d]) => Outcome::Ignored,
                    None => Outcome::Wrong,
                };
            }
        }
    }
}

/// The position in `order` of the person that a detection matches: the most similar unmatched one (the last of equals)
/// with a similarity of at least `least`. An ignored person (from position `counting` on) matches only if no person
/// that counts does.
fn best(
    row: &[f64],
    least: f64,
    order: &[usize],
    counting: usize,
    taken: &[bool],
    persons: &[&GroundTruth],
) -> Option<usize> {
    let (mut least, mut found) = (least, None);
    for (place, &person) in order.iter().enumerate() {
        if place == counting && found.is_some() {
            break;
        }
        if (!taken[person] || persons[person].crowd) && row[person] >= least {
            (least, found) = (row[person], Some(place));
        }
    }
    found
}

/// Area of the smallest box around keypoints.
fn box_area(joints: &[[f64; 2]]) -> f64 {
    let span = |axis: usize| {
        let along = || joints.iter().map(|joint| joint[axis]);
        along().fold(f64::NEG_INFINITY, f64::max) - along().fold(f64::INFINITY, f64::min)
    };
    span(0) * span(1)
}

/// Average precision and recall of one area range, by similarity.
struct Curves {
    precision: [f64; THRESHOLDS],
    recall: [f64; THRESHOLDS],
}

impl Curves {
    /// From all detections, best first, and the number of persons that count, which is not 0.
    fn new(judged: &[Judged], area: usize, to_find: usize) -> Self {
        let mut curves = Self { precision: [0.0; THRESHOLDS], recall: [0.0; THRESHOLDS] };
        // (recall, precision) after each detection.
        let mut points = Vec::with_capacity(judged.len());
        for at in 0..THRESHOLDS {
            points.clear();
            let (mut right, mut wrong) = (0usize, 0usize);
            for judged in judged {
                match judged.outcomes[area][at] {
                    Outcome::Right => right += 1,
                    Outcome::Wrong => wrong += 1,
                    Outcome::Ignored => {}
                }
                points.push((right as f64 / to_find as f64, right as f64 / (right + wrong).max(1) as f64));
            }
            curves.recall[at] = points.last().map_or(0.0, |point| point.0);
            for i in (1..points.len()).rev() {
                points[i - 1].1 = points[i - 1].1.max(points[i].1);
            }
            // Recall never decreases, so one pass finds the first point that reaches each recall.
            let mut point = points.iter().peekable();
            let mut sum = 0.0;
            for i in 0..RECALLS {
                let recall = if i + 1 == RECALLS { 1.0 } else { i as f64 * 0.01 };
                while point.next_if(|p| p.0 < recall).is_some() {}
                sum += point.peek().map_or(0.0, |p| p.1);
            }
            curves.precision[at] = sum / RECALLS as f64;
        }
        curves
    }
}

fn mean(values: &[f64; THRESHOLDS]) -> f64 {
    values.iter().sum::<f64>() / THRESHOLDS as f64
}
