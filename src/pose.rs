//! A model file that answers in joints.

use std::path::Path;

use dyconv_data::{DecodeOptions, FoundJoint, HeatMaps, Image, PersonBox, PersonCrop, Transform};
use dyconv_engine::{Plan, Session};
use dyconv_file::Model;
use dyconv_graph::{Shape, TensorSource};
use dyconv_task::Skeleton;

use crate::{Error, compiled};

/// Persons that go through the network together.
const GROUP: usize = 8;

/// A compiled keypoint network: image and boxes in, joints in image coordinates out. Runs on the caller's thread unless told
/// otherwise.
///
/// ```no_run
/// use dyconv::PoseEstimator;
/// use dyconv::data::{PersonBox, load};
///
/// let mut estimator = PoseEstimator::open("model.safetensors".as_ref())?;
/// let image = load("person.jpg".as_ref(), &estimator.decode_options())?;
/// let joints = estimator.predict(&image, &[PersonBox::whole(&image)])?;
/// for (name, joint) in estimator.skeleton().joints.iter().zip(&joints[0]) {
///     println!("{name}: ({:.1}, {:.1}), {:.2}", joint.x, joint.y, joint.score);
/// }
/// # Ok::<(), dyconv::Error>(())
/// ```
#[derive(Debug)]
pub struct PoseEstimator {
    model: Model<()>,
    skeleton: Skeleton,
    session: Session,
    transform: Transform,
    maps: HeatMaps,
    /// The joint that takes each one's place in a mirrored image, for the flip test.
    flip: Option<Vec<usize>>,
}

impl PoseEstimator {
    /// Reads, verifies and compiles a model file.
    ///
    /// # Errors
    /// The file's or the engine's, or that the model does not answer in joints.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (model, plan) = compiled::open(path)?;
        Self::with_plan(model, plan)
    }

    /// Compiles a model, whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// The engine's, those of the preprocessing, or that the model does not answer in joints.
    pub fn new<W: TensorSource>(model: Model<W>) -> Result<Self, Error> {
        let (model, plan) = compiled::compile(model)?;
        Self::with_plan(model, plan)
    }

    /// An estimator whose network is compiled already, for example with narrow kernel banks.
    ///
    /// # Errors
    /// Those of the preprocessing, or that the model does not answer in joints.
    ///
    /// # Panics
    /// When the plan's input or answer is not of the shape of the model's.
    pub fn with_plan(model: Model<()>, plan: Plan) -> Result<Self, Error> {
        let Some(skeleton) = model.skeleton().cloned() else { return Err(Error::NoJoints(model.classes().len())) };
        assert_eq!(plan.input_dims(), model.graph.input_dims(), "a plan of this model");
        assert_eq!(plan.output_shape(), model.graph.output_shape(), "a plan of this model");
        let Shape::Map([_, height, width]) = plan.output_shape() else {
            unreachable!("a model file whose task is joints answers with maps")
        };
        let transform = Transform::new(model.preprocessing.clone())?;
        let maps = HeatMaps { input: model.preprocessing.image_size, map: [height, width] };
        Ok(Self { model, skeleton, session: Session::try_with_threads(plan, 1)?, transform, maps, flip: None })
    }

    /// The same estimator on so many threads, the caller's included; on fewer where the system refuses more
    /// ([`threads`](Self::threads)). Answers do not depend on their number.
    ///
    /// # Panics
    /// When there are no threads.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { session: compiled::with_threads(self.session, threads), ..self }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.session.threads()
    }

    /// The same estimator with the flip test: every person is looked at once more mirrored, and the heat maps are averaged.
    /// Twice the work, and usually a little better.
    #[must_use]
    pub fn with_flip(self) -> Self {
        Self { flip: Some(self.skeleton.mirrored()), ..self }
    }

    /// The same estimator for images of up to so many pixels; 100 million where nobody says.
    #[must_use]
    pub fn with_max_pixels(self, max_pixels: usize) -> Self {
        Self { transform: self.transform.with_max_pixels(max_pixels), ..self }
    }

    /// How image files are to be decoded for the model.
    pub fn decode_options(&self) -> DecodeOptions {
        self.transform.decode_options()
    }

    /// The model, without its weights: the estimator holds them packed.
    pub fn model(&self) -> &Model<()> {
        &self.model
    }

    /// The joints.
    pub fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// The part of an image that the network sees for a box.
    pub fn crop(&self, bbox: PersonBox) -> PersonCrop {
        PersonCrop::around(bbox, self.maps.input)
    }

    /// The joints in each box, in pixels of the image.
    ///
    /// # Errors
    /// The engine's, or that the network's output is NaN or infinite for some joint.
    pub fn predict(&mut self, image: &Image, boxes: &[PersonBox]) -> Result<Vec<Vec<FoundJoint>>, Error> {
        let answers = self.answers(image, boxes)?;
        let unknown = answers.iter().flatten().filter(|joint| !joint.is_known()).count();
        match unknown {
            0 => Ok(answers),
            _ => Err(Error::NoKeypoints { unknown, joints: answers.iter().map(Vec::len).sum() }),
        }
    }

    /// As [`predict`](Self::predict), but joints may be unknown ([`FoundJoint::is_known`]).
    pub(crate) fn answers(&mut self, image: &Image, boxes: &[PersonBox]) -> Result<Vec<Vec<FoundJoint>>, Error> {
        let mut answers = Vec::with_capacity(boxes.len());
        for boxes in boxes.chunks(GROUP) {
            let crops: Vec<PersonCrop> = boxes.iter().map(|bbox| self.crop(*bbox)).collect();
            let mut maps = self.run(image, &crops)?;
            if let Some(mirrored) = self.flip.clone() {
                let turned: Vec<PersonCrop> = crops.iter().map(|crop| crop.mirror()).collect();
                let each = mirrored.len() * self.maps.cells();
                for (maps, other) in maps.chunks_exact_mut(each).zip(self.run(image, &turned)?.chunks_exact(each)) {
                    self.maps.average_mirrored(maps, other, &mirrored);
                }
            }
            for (maps, crop) in maps.chunks_exact(maps.len() / crops.len()).zip(crops) {
                let to_image = crop.to_image(self.maps.input);
                answers.push(self.maps.decode(maps).into_iter().map(|joint| joint.through(&to_image)).collect());
            }
        }
        Ok(answers)
    }

    /// The heat maps of some crops, one behind the other.
    fn run(&mut self, image: &Image, crops: &[PersonCrop]) -> Result<Vec<f32>, Error> {
        let inputs: Vec<f32> = crops.iter().flat_map(|crop| self.transform.crop(image, *crop)).collect();
        Ok(self.session.predict(&inputs, crops.len())?)
    }
}
