//! Scoring a keypoint network on a data set.

use std::collections::HashSet;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;

use dyconv_data::{
    Broken, DataError, Dataset, DetectedBox, DetectedBoxes, FoundKeypoint, Image, KeypointMeter, PersonBox,
};
use dyconv_metrics::{Detection, KeypointScores, Pose, oks_nms};

use crate::error::Error;
use crate::pose::PoseEstimator;

/// With boxes from a detector, if two predictions are more similar than this, the one with the lower score is dropped.
/// This is the threshold of SimpleBaseline.
const ALIKE: f64 = 0.9;
/// Number of images that are decoded ahead.
const AHEAD: usize = 8;

/// Options for scoring a data set of persons.
#[derive(Debug, Clone, Copy)]
pub struct PoseEvaluationOptions<'a> {
    /// Boxes from a detector; without them the annotated boxes are used.
    pub boxes: Option<&'a DetectedBoxes>,
    /// Number of broken images that are skipped before an error is returned. More than half of the images broken is
    /// always an error.
    pub max_broken: usize,
}

/// The keypoints of one person, as written to result files.
#[derive(Debug, Clone, PartialEq)]
pub struct PoseAnswer {
    /// Id of the image in the annotations.
    pub image: u64,
    /// The box of the person.
    pub bbox: PersonBox,
    /// Keypoints in pixels of the image.
    pub joints: Vec<FoundKeypoint>,
    /// Score of the person.
    pub score: f64,
}

/// Scores of a keypoint network.
#[derive(Debug, Clone)]
pub struct PoseEvaluation {
    /// The COCO metrics.
    pub scores: KeypointScores,
    /// The scored predictions, image by image.
    pub answers: Vec<PoseAnswer>,
    /// Number of predictions that were dropped as duplicates of the same person.
    pub suppressed: usize,
    /// Number of boxes without a prediction, because the network's output was NaN or infinite; their persons count as
    /// not found.
    pub unanswered: usize,
    /// Images that could not be read, or whose size differs from the annotations; their persons do not count.
    pub broken: Vec<Broken>,
}

/// Scores a keypoint network on the validation part of a data set of persons; `progress` is called with the number of
/// boxes done.
///
/// The score of a person is that of the box times the mean score of its confident keypoints. With boxes from a
/// detector, predictions that are too similar to a better one of the same image are dropped.
///
/// # Errors
/// If the data have no persons or different keypoints, there is nothing to score, or too many images are broken.
pub fn evaluate_poses(
    estimator: &PoseEstimator,
    dataset: &Dataset,
    options: &PoseEvaluationOptions<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<PoseEvaluation, Error> {
    let people = dataset.people().ok_or(Error::NoPersons)?;
    if people.skeleton.joints != estimator.skeleton().joints {
        return Err(Error::OtherKeypoints {
            data: people.skeleton.joints.len(),
            model: estimator.skeleton().joints.len(),
        });
    }
    let by_image = boxes_by_image(dataset, options.boxes);
    if by_image.iter().all(Vec::is_empty) {
        return Err(Error::NothingToScore);
    }
    let mut scorer = Scorer {
        estimator,
        dataset,
        options,
        meter: KeypointMeter::new(people),
        images: by_image.iter().filter(|boxes| !boxes.is_empty()).count(),
        done: 0,
        answers: Vec::new(),
        suppressed: 0,
        broken: Vec::new(),
        unread: HashSet::new(),
    };
    let decoding = scorer.estimator.decode_options();
    let wanted = || by_image.iter().enumerate().filter(|(_, boxes)| !boxes.is_empty());
    std::thread::scope(|scope| {
        let (sender, images) = sync_channel(AHEAD);
        // One thread decodes ahead; it ends when the receiver is dropped.
        let ahead = move || {
            for (image, boxes) in wanted() {
                if sender.send((image, boxes, dataset.load_image(image, &decoding))).is_err() {
                    return;
                }
            }
        };
        match Builder::new().name("decoder".to_owned()).spawn_scoped(scope, ahead) {
            Ok(_) => {
                images.into_iter().try_for_each(|(image, boxes, loaded)| scorer.add(image, boxes, loaded, progress))
            }
            // The system refused to start a thread: decode the images here.
            Err(_) => wanted().try_for_each(|(image, boxes)| {
                scorer.add(image, boxes, dataset.load_image(image, &decoding), progress)
            }),
        }
    })?;
    scorer.finish()
}

/// Runs the network on images and accumulates the predictions.
struct Scorer<'a> {
    estimator: &'a PoseEstimator,
    dataset: &'a Dataset,
    options: &'a PoseEvaluationOptions<'a>,
    meter: KeypointMeter<'a>,
    /// Number of images with a box.
    images: usize,
    /// Number of boxes done.
    done: usize,
    answers: Vec<PoseAnswer>,
    suppressed: usize,
    broken: Vec<Broken>,
    /// Indices of the broken images.
    unread: HashSet<usize>,
}

impl Scorer<'_> {
    /// Adds the predictions for the boxes of an image.
    fn add(
        &mut self,
        image: usize,
        boxes: &[DetectedBox],
        loaded: Result<Image, DataError>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), Error> {
        let picture = match loaded {
            Ok(picture) => picture,
            Err(error) => {
                self.broken.push(Broken { name: self.dataset.image_name(image), reason: error.to_string() });
                self.unread.insert(image);
                return self.too_many().map_or(Ok(()), Err);
            }
        };
        let people = self.dataset.people().expect("a data set of persons");
        let places: Vec<PersonBox> = boxes.iter().map(|found| found.bbox).collect();
        let joints = self.estimator.answers(&picture, &places)?;
        let mut found: Vec<PoseAnswer> = Vec::with_capacity(boxes.len());
        for (found_box, joints) in boxes.iter().zip(joints) {
            if let Some(Detection { score, .. }) = self.meter.detection(image, found_box.score, &joints) {
                found.push(PoseAnswer { image: people.images[image].id, bbox: found_box.bbox, joints, score });
            }
        }
        if self.options.boxes.is_some() {
            let before = found.len();
            found = kept(self.estimator, found, self.meter.sigmas())?;
            self.suppressed += before - found.len();
        }
        self.done += boxes.len();
        self.meter.add(found.iter().map(detection));
        self.answers.extend(found);
        progress(self.done);
        Ok(())
    }

    /// The error for too many broken images: more than are allowed, or more than half.
    fn too_many(&self) -> Option<Error> {
        let (broken, allowed) = (self.broken.len(), self.options.max_broken);
        let images = if broken == 1 { "image" } else { "images" };
        let first = &self.broken.first()?.reason;
        let message = if broken > allowed {
            format!("{broken} broken {images}, but at most {allowed} are allowed: {first}")
        } else if broken > self.images / 2 {
            format!("{broken} of {} images broken, which is more than half: {first}", self.images)
        } else {
            return None;
        };
        Some(Error::Data(DataError { name: "val images".into(), message }))
    }

    fn finish(self) -> Result<PoseEvaluation, Error> {
        let scores = self.meter.scores(|image| !self.unread.contains(&image))?;
        let unanswered = self.meter.unanswered();
        let Self { answers, suppressed, broken, .. } = self;
        Ok(PoseEvaluation { scores, answers, suppressed, unanswered, broken })
    }
}

/// The boxes of every image, except for training images.
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

fn points(joints: &[FoundKeypoint]) -> Vec<[f64; 2]> {
    joints.iter().map(|joint| [joint.x, joint.y]).collect()
}

/// The predictions of one image without duplicates.
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
