//! Persons and answers as scoring wants them.

use dyconv_metrics::{Detection, GroundTruth, KeypointError, KeypointScores, keypoint_scores, rescore};

use super::{Joint, People};
use crate::heatmap::FoundJoint;

/// A joint that scores less does not count for the score of its person: SimpleBaseline's threshold.
const SURE: f64 = 0.2;

impl People {
    /// What answers for the validation part are scored against: its persons, and what is to be passed over, in the images
    /// whose index `read` accepts, which are to be those that could be read. They have the ids of the annotations.
    pub fn truth(&self, read: impl Fn(usize) -> bool) -> Vec<GroundTruth> {
        let persons = self.persons.iter().filter(|person| person.image >= self.train_images).chain(&self.rest);
        let truth = persons.filter(|person| read(person.image)).map(|person| GroundTruth {
            image: self.images[person.image].id,
            joints: person.joints.iter().map(|j: &Joint| j.labelled().then_some([j.x, j.y])).collect(),
            area: person.area,
            bbox: [person.bbox.x, person.bbox.y, person.bbox.width, person.bbox.height],
            crowd: person.crowd,
            ignore: person.labelled == 0,
        });
        truth.collect()
    }

    /// The answer for a box in an image of that index, with the score of the box times the mean score of the joints that
    /// are sure.
    pub fn detection(&self, image: usize, box_score: f64, joints: &[FoundJoint]) -> Detection {
        let scores: Vec<f64> = joints.iter().map(|j| f64::from(j.score)).collect();
        Detection {
            image: self.images[image].id,
            joints: joints.iter().map(|j| [j.x, j.y]).collect(),
            score: rescore(box_score, &scores, SURE),
        }
    }

    /// The sigmas of the joints: the shortest decimals that they are, so that COCO's 0.026 is 0.026 in 64 bits too.
    pub fn sigmas(&self) -> Vec<f64> {
        self.skeleton.sigmas.iter().map(|s| s.to_string().parse().expect("a number's own text")).collect()
    }
}

/// Adds up the answers of a keypoint network, and scores them by OKS average precision. Training and evaluation count by it.
#[derive(Debug)]
pub struct KeypointMeter<'a> {
    people: &'a People,
    sigmas: Vec<f64>,
    found: Vec<Detection>,
    unanswered: usize,
}

impl<'a> KeypointMeter<'a> {
    /// For the validation part of these people.
    pub fn new(people: &'a People) -> Self {
        Self { people, sigmas: people.sigmas(), found: Vec::new(), unanswered: 0 }
    }

    /// The answer for a box of an image of that index, not added yet; `None`, which is counted, where the network's output was NaN or
    /// infinite.
    pub fn detection(&mut self, image: usize, box_score: f64, joints: &[FoundJoint]) -> Option<Detection> {
        let known = joints.iter().all(FoundJoint::is_known);
        self.unanswered += usize::from(!known);
        known.then(|| self.people.detection(image, box_score, joints))
    }

    /// Adds answers.
    pub fn add(&mut self, found: impl IntoIterator<Item = Detection>) {
        self.found.extend(found);
    }

    /// The sigmas of the joints.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// Boxes without an answer; their persons count as not found.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// COCO's numbers over the images whose index `read` accepts.
    ///
    /// # Errors
    /// When an answer has another number of joints than the persons.
    pub fn scores(&self, read: impl Fn(usize) -> bool) -> Result<KeypointScores, KeypointError> {
        keypoint_scores(&self.people.truth(read), &self.found, &self.sigmas)
    }
}
