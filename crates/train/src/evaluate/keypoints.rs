//! Scores of a keypoint network: average precision over the annotated boxes, and the mean loss.

use std::collections::HashSet;

use dyconv_data::{Batch, Dataset, HeatMaps, PersonCrop, Split};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::loss::keypoints::value;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeypointSummary {
    /// COCO's average precision; `None` if there is no person to detect.
    pub ap: Option<f64>,
    /// Mean loss per person; `None` if no person was evaluated, or an output is not finite.
    pub loss: Option<f64>,
    pub persons: usize,
    /// Number of persons for whom the network's output is NaN or infinite; they count as not detected.
    #[serde(default)]
    pub unanswered: usize,
    /// COCO's ten numbers by name.
    pub scores: Vec<(String, Option<f64>)>,
}

/// Accumulates predictions and the loss.
pub(super) struct KeypointMeter<'a> {
    dataset: &'a Dataset,
    maps: HeatMaps,
    meter: dyconv_data::KeypointMeter<'a>,
    /// Indices of the images that could be read.
    read: HashSet<usize>,
    loss: f64,
    persons: usize,
}

impl<'a> KeypointMeter<'a> {
    pub fn new(dataset: &'a Dataset, maps: HeatMaps) -> Self {
        let people = dataset.people().expect("a data set of persons");
        let meter = dyconv_data::KeypointMeter::new(people);
        Self { dataset, maps, meter, read: HashSet::new(), loss: 0.0, persons: 0 }
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
            self.persons += 1;
            let found = self.meter.detection(person.image, 1.0, &found);
            self.meter.add(found);
        }
    }

    pub fn finish(self) -> Result<KeypointSummary, TrainError> {
        let scores = self.meter.scores(|image| self.read.contains(&image))?;
        let loss = Some(self.loss / self.persons as f64).filter(|loss| loss.is_finite());
        let stats = scores.stats().into_iter().map(|(name, value)| (name.to_owned(), value));
        let (persons, unanswered) = (self.persons, self.meter.unanswered());
        Ok(KeypointSummary { ap: scores.ap, loss, persons, unanswered, scores: stats.collect() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use dyconv_data::{Loader, LoaderOptions, Transform};
    use dyconv_figures::{FigureOptions, make_figures};
    use dyconv_task::Preprocessing;

    /// An upper bound, and a check of crop, heat map, decoder and score against each other.
    #[test]
    fn a_network_that_answers_with_the_targets_finds_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let options = FigureOptions { train: 1, val: 20, seed: 2, threads: 2, overwrite: false };
        make_figures(dir.path(), &options, &mut |_| ()).unwrap();
        let dataset = Arc::new(Dataset::open_people(dir.path(), None).unwrap());
        let mut aps = Vec::new();
        for map in [[64, 48], [32, 24]] {
            let maps = HeatMaps { input: [256, 192], map };
            let transform = Transform::new(Preprocessing::usual(3, maps.input, 256)).unwrap();
            let mut meter = KeypointMeter::new(&dataset, maps);
            let options = LoaderOptions { batch: 8, ..LoaderOptions::default() };
            for batch in Loader::joints(&dataset, Split::Val, &transform, maps, 2.0, None, &options, 0) {
                let batch = batch.unwrap();
                meter.add(&batch, &batch.joints().maps);
            }
            let scores = meter.finish().unwrap();
            assert_eq!((scores.loss, scores.persons, scores.unanswered), (Some(0.0), dataset.len(Split::Val), 0));
            aps.push(scores.ap.unwrap());
        }
        assert!(aps[0] > 0.97 && aps[1] > 0.8 && aps[1] <= aps[0], "{aps:?}");
    }

    #[test]
    fn nan_outputs_are_counted_and_nobody_has_no_score() {
        let dir = tempfile::tempdir().unwrap();
        let options = FigureOptions { train: 1, val: 3, seed: 2, threads: 2, overwrite: false };
        make_figures(dir.path(), &options, &mut |_| ()).unwrap();
        let dataset = Arc::new(Dataset::open_people(dir.path(), None).unwrap());
        let maps = HeatMaps { input: [64, 48], map: [16, 12] };
        let scores = KeypointMeter::new(&dataset, maps).finish().unwrap();
        assert_eq!((scores.ap, scores.loss, scores.persons), (None, None, 0));
        assert!(scores.scores.iter().all(|(_, score)| score.is_none()));

        let transform = Transform::new(Preprocessing::usual(3, maps.input, 64)).unwrap();
        let options = LoaderOptions { batch: 100, ..LoaderOptions::default() };
        let mut batches = Loader::joints(&dataset, Split::Val, &transform, maps, 2.0, None, &options, 0);
        let batch = batches.next().unwrap().unwrap();
        let mut answers = batch.joints().maps.clone();
        // One value of the first person's heat maps.
        answers[100] = f32::NAN;
        let mut meter = KeypointMeter::new(&dataset, maps);
        meter.add(&batch, &answers);
        let scores = meter.finish().unwrap();
        assert_eq!((scores.loss, scores.persons, scores.unanswered), (None, batch.len(), 1));
        assert!(scores.ap.is_some_and(|ap| ap < 1.0), "{:?}", scores.ap);
    }
}
