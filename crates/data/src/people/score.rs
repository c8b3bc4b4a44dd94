//! Converts persons and predictions into the input of scoring.

use dyconv_metrics::{Detection, GroundTruth, KeypointError, KeypointScores, keypoint_scores, rescore};

use super::{Keypoint, People};
use crate::heatmap::FoundKeypoint;

/// Keypoints with a lower score do not contribute to the score of their person: SimpleBaseline's threshold.
const SURE: f64 = 0.2;

impl People {
    /// The ground truth for predictions on the validation part: its persons and the annotations to ignore, in the
    /// images whose index `read` accepts. `read` should accept the images that could be read. Images are numbered by
    /// their ids in the annotations.
    pub fn truth(&self, read: impl Fn(usize) -> bool) -> Vec<GroundTruth> {
        let persons = self.persons.iter().filter(|person| person.image >= self.train_images).chain(&self.rest);
        let truth = persons.filter(|person| read(person.image)).map(|person| GroundTruth {
            image: self.images[person.image].id,
            joints: person.joints.iter().map(|j: &Keypoint| j.labelled().then_some([j.x, j.y])).collect(),
            area: person.area,
            bbox: [person.bbox.x, person.bbox.y, person.bbox.width, person.bbox.height],
            crowd: person.crowd,
            ignore: person.labelled == 0,
        });
        truth.collect()
    }

    /// The detection for a box in the image with this index. Its score is the score of the box times the mean score of
    /// the confident joints.
    pub fn detection(&self, image: usize, box_score: f64, joints: &[FoundKeypoint]) -> Detection {
        let scores: Vec<f64> = joints.iter().map(|j| f64::from(j.score)).collect();
        Detection {
            image: self.images[image].id,
            joints: joints.iter().map(|j| [j.x, j.y]).collect(),
            score: rescore(box_score, &scores, SURE),
        }
    }

    /// The sigmas of the joints, converted through their shortest decimals, so that COCO's 0.026 is 0.026 in 64 bits
    /// too.
    pub fn sigmas(&self) -> Vec<f64> {
        self.skeleton.sigmas.iter().map(|s| s.to_string().parse().expect("a number's own text")).collect()
    }
}

/// Accumulates the predictions of a keypoint network, and scores them by OKS average precision. Used by training and
/// evaluation.
#[derive(Debug)]
pub struct KeypointMeter<'a> {
    people: &'a People,
    sigmas: Vec<f64>,
    found: Vec<Detection>,
    unanswered: usize,
}

impl<'a> KeypointMeter<'a> {
    /// A meter for the validation part of these people.
    pub fn new(people: &'a People) -> Self {
        Self { people, sigmas: people.sigmas(), found: Vec::new(), unanswered: 0 }
    }

    /// The detection for a box of the image with this index, not added yet; `None`, which is counted, if the network's
    /// output is NaN or infinite.
    pub fn detection(&mut self, image: usize, box_score: f64, joints: &[FoundKeypoint]) -> Option<Detection> {
        let known = joints.iter().all(FoundKeypoint::is_known);
        self.unanswered += usize::from(!known);
        known.then(|| self.people.detection(image, box_score, joints))
    }

    /// Adds detections.
    pub fn add(&mut self, found: impl IntoIterator<Item = Detection>) {
        self.found.extend(found);
    }

    /// The sigmas of the joints.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// Number of boxes without a prediction; their persons count as not detected.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// COCO's ten numbers over the images whose index `read` accepts.
    ///
    /// # Errors
    /// If the number of joints of a detection differs from that of the persons.
    pub fn scores(&self, read: impl Fn(usize) -> bool) -> Result<KeypointScores, KeypointError> {
        keypoint_scores(&self.people.truth(read), &self.found, &self.sigmas)
    }
}
