//! Scores of a keypoint network: average precision over the persons' own boxes, and the mean loss.

use std::collections::HashSet;

use dyconv_data::{Batch, Dataset, HeatMaps, PersonCrop, Split};
use dyconv_metrics::{Detection, keypoint_scores};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::loss::joints::value;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JointScores {
    /// COCO's average precision; `None` where no person is to be found.
    pub ap: Option<f64>,
    /// Mean loss of a person.
    pub loss: f64,
    pub persons: usize,
    /// COCO's ten numbers by name.
    pub scores: Vec<(String, Option<f64>)>,
}

/// Adds up answers.
pub(super) struct JointMeter<'a> {
    dataset: &'a Dataset,
    maps: HeatMaps,
    found: Vec<Detection>,
    /// Indices of the images that could be read.
    read: HashSet<usize>,
    loss: f64,
}

impl<'a> JointMeter<'a> {
    pub fn new(dataset: &'a Dataset, maps: HeatMaps) -> Self {
        Self { dataset, maps, found: Vec::new(), read: HashSet::new(), loss: 0.0 }
    }

    /// Adds the heat maps `[N, joints, height, width]` of a batch.
    pub fn add(&mut self, batch: &Batch, answers: &[f32]) {
        let people = self.dataset.people().expect("a batch of persons");
        let joints = people.skeleton.joints.len();
        let each = joints * self.maps.cells();
        let labels = batch.joints();
        for ((n, answer), index) in answers.chunks_exact(each).enumerate().zip(&batch.indices) {
            let person = self.dataset.person(Split::Val, *index).expect("a batch of persons");
            self.loss += value(answer, &labels.maps[n * each..][..each], &labels.weights[n * joints..][..joints]);
            let to_image = PersonCrop::around(person.bbox, self.maps.input).to_image(self.maps.input);
            let found: Vec<_> = self.maps.decode(answer).into_iter().map(|joint| joint.through(&to_image)).collect();
            self.read.insert(person.image);
            self.found.push(people.detection(person.image, 1.0, &found));
        }
    }

    pub fn finish(self) -> Result<JointScores, TrainError> {
        let people = self.dataset.people().expect("a batch of persons");
        let scores = keypoint_scores(&people.truth(|image| self.read.contains(&image)), &self.found, &people.sigmas())?;
        let persons = self.found.len();
        let stats = scores.stats().into_iter().map(|(name, value)| (name.to_owned(), value));
        Ok(JointScores { ap: scores.ap, loss: self.loss / persons.max(1) as f64, persons, scores: stats.collect() })
    }
}
