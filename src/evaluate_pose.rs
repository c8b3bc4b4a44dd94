//! Scoring a keypoint network on a data set.

use std::collections::HashSet;
use std::sync::mpsc::sync_channel;

use dyconv_data::{Broken, DataError, Dataset, DetectedBox, DetectedBoxes, FoundJoint, PersonBox};
use dyconv_metrics::{Detection, KeypointScores, Pose, keypoint_scores, oks_nms};

use crate::{Error, PoseEstimator};

/// Of two answers more similar than this the lower is dropped, where boxes come from a detector: SimpleBaseline's threshold.
const ALIKE: f64 = 0.9;
/// Images that are decoded ahead.
const AHEAD: usize = 8;

/// How a data set of persons is scored.
#[derive(Debug, Clone, Copy)]
pub struct PoseEvaluationOptions<'a> {
    /// Boxes of a detector; without them the persons' own boxes are taken.
    pub boxes: Option<&'a DetectedBoxes>,
    /// Broken images that are skipped before it is an error.
    pub max_broken: usize,
}

/// The joints of one person, as results are written.
#[derive(Debug, Clone, PartialEq)]
pub struct PoseAnswer {
    /// Id of the image in the annotations.
    pub image: u64,
    /// Box that was looked at.
    pub bbox: PersonBox,
    /// In pixels of the image.
    pub joints: Vec<FoundJoint>,
    /// Score of the person.
    pub score: f64,
}

/// Scores of a keypoint network.
#[derive(Debug, Clone)]
pub struct PoseEvaluation {
    /// COCO's numbers.
    pub scores: KeypointScores,
    /// What was scored, image by image.
    pub answers: Vec<PoseAnswer>,
    /// Answers that were dropped as second ones for the same person.
    pub suppressed: usize,
    /// Images that could not be read; their persons do not count.
    pub broken: Vec<Broken>,
}

/// Scores a keypoint network on the validation part of a data set of persons; `progress` is told how many boxes are done.
///
/// The score of a person is that of the box times the mean score of its joints that are sure. With boxes of a detector,
/// answers that are too similar to a better one of the same image are dropped.
///
/// # Errors
/// When the data hold no persons or other joints, there is nothing to score, or too many images are broken.
pub fn evaluate_poses(
    estimator: &mut PoseEstimator,
    dataset: &Dataset,
    options: &PoseEvaluationOptions<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<PoseEvaluation, Error> {
    let people = dataset.people().ok_or(Error::NoPersons)?;
    if people.skeleton.joints != estimator.skeleton().joints {
        return Err(Error::OtherJoints {
            data: people.skeleton.joints.len(),
            model: estimator.skeleton().joints.len(),
        });
    }
    let by_image = boxes_by_image(dataset, options.boxes);
    if by_image.iter().all(Vec::is_empty) {
        return Err(Error::NothingToScore);
    }
    let sigmas = people.sigmas();
    let (mut answers, mut suppressed, mut done) = (Vec::new(), 0, 0);
    let (mut broken, mut unread) = (Vec::new(), HashSet::new());
    let decoding = estimator.decode_options();
    let (sender, images) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        // One thread decodes ahead; it ends when nobody listens any more.
        let wanted = by_image.iter().enumerate().filter(|(_, boxes)| !boxes.is_empty());
        scope.spawn(move || {
            for (image, boxes) in wanted {
                if sender.send((image, boxes, dataset.load_image(image, &decoding))).is_err() {
                    return;
                }
            }
        });
        for (image, boxes, loaded) in images {
            let picture = match loaded {
                Ok(picture) => picture,
                Err(error) => {
                    broken.push(Broken { name: dataset.image_name(image), reason: error.to_string() });
                    unread.insert(image);
                    if broken.len() > options.max_broken {
                        return Err(too_many(&broken, options.max_broken));
                    }
                    continue;
                }
            };
            let places: Vec<PersonBox> = boxes.iter().map(|found| found.bbox).collect();
            let joints = estimator.predict(&picture, &places)?;
            let found = boxes.iter().zip(joints).map(|(found, joints)| {
                let score = people.detection(image, found.score, &joints).score;
                PoseAnswer { image: people.images[image].id, bbox: found.bbox, joints, score }
            });
            let mut found: Vec<PoseAnswer> = found.collect();
            if options.boxes.is_some() {
                let before = found.len();
                found = kept(estimator, found, &sigmas)?;
                suppressed += before - found.len();
            }
            done += boxes.len();
            answers.extend(found);
            progress(done);
        }
        Ok(())
    })?;
    let detections: Vec<Detection> = answers.iter().map(detection).collect();
    let scores = keypoint_scores(&people.truth(|image| !unread.contains(&image)), &detections, &sigmas)?;
    Ok(PoseEvaluation { scores, answers, suppressed, broken })
}

/// The boxes of every image, those of training images aside.
fn boxes_by_image(dataset: &Dataset, detected: Option<&DetectedBoxes>) -> Vec<Vec<DetectedBox>> {
    let people = dataset.people().expect("a data set of persons");
    let mut by_image = vec![Vec::new(); people.images.len()];
    match detected {
        Some(detected) => detected.boxes.iter().for_each(|found| by_image[found.image].push(*found)),
        None => {
            for person in people.persons.iter().filter(|person| person.image >= people.train_images) {
                by_image[person.image].push(DetectedBox { image: person.image, bbox: person.bbox, score: 1.0 });
            }
        }
    }
    by_image
}

fn detection(answer: &PoseAnswer) -> Detection {
    Detection { image: answer.image, joints: points(&answer.joints), score: answer.score }
}

fn points(joints: &[FoundJoint]) -> Vec<[f64; 2]> {
    joints.iter().map(|joint| [joint.x, joint.y]).collect()
}

/// The answers of one image without those that are second ones.
fn kept(estimator: &PoseEstimator, found: Vec<PoseAnswer>, sigmas: &[f64]) -> Result<Vec<PoseAnswer>, Error> {
    let [height, width] = estimator.model().preprocessing.image_size;
    let poses = found.iter().map(|answer| {
        // The area that the network saw, as in SimpleBaseline.
        let area = estimator.crop(answer.bbox).width.powi(2) * height as f64 / width as f64;
        Pose { joints: points(&answer.joints), area, score: answer.score }
    });
    let order = oks_nms(&poses.collect::<Vec<_>>(), sigmas, ALIKE)?;
    let mut found: Vec<Option<PoseAnswer>> = found.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|i| found[i].take()).collect())
}

fn too_many(broken: &[Broken], allowed: usize) -> Error {
    let images = if broken.len() == 1 { "image" } else { "images" };
    let first = &broken[0].reason;
    let message = format!("{} broken {images}, but at most {allowed} are allowed: {first}", broken.len());
    Error::Data(DataError { name: "val images".into(), message })
}
