//! Models that predict keypoints.

#[cfg(not(target_family = "wasm"))]
use std::path::Path;
use std::sync::Arc;

use dyconv_data::{DecodeOptions, FoundKeypoint, HeatMaps, Image, PersonBox, PersonCrop};
use dyconv_engine::Plan;
use dyconv_file::Model;
use dyconv_graph::{Shape, TensorSource};
use dyconv_task::Skeleton;

use crate::attention::LayerAttention;
use crate::error::Error;
use crate::network::Network;
use crate::options::ModelOptions;

/// Number of persons that run through the network together.
const GROUP: usize = 8;

/// A compiled keypoint network: image and boxes in, keypoints in image coordinates out. Share it between threads by reference
/// or in an [`Arc`].
///
/// ```no_run
/// use dyconv_data::{PersonBox, load};
/// use dyconv_predict::PoseEstimator;
///
/// let estimator = PoseEstimator::open("model.safetensors")?;
/// let image = load("person.jpg".as_ref(), &estimator.decode_options())?;
/// let joints = estimator.predict(&image, &[PersonBox::whole(&image)])?;
/// for (name, joint) in estimator.skeleton().joints.iter().zip(&joints[0]) {
///     println!("{name}: ({:.1}, {:.1}), {:.2}", joint.x, joint.y, joint.score);
/// }
/// # Ok::<(), dyconv_predict::Error>(())
/// ```
#[derive(Debug)]
pub struct PoseEstimator {
    pub(crate) network: Network,
    maps: HeatMaps,
    /// The index of the mirrored counterpart of each keypoint, for the flip test.
    flip: Option<Vec<usize>>,
}

impl PoseEstimator {
    /// # Panics
    /// If the model does not predict keypoints.
    pub(crate) fn of(network: Network) -> Self {
        let Shape::Map([_, height, width]) = network.plan().output_shape() else {
            unreachable!("a model file whose task is keypoints answers with maps")
        };
        let maps = HeatMaps { input: network.model.preprocessing.image_size, map: [height, width] };
        Self { network, maps, flip: None }
    }

    /// Reads, verifies and compiles a model file for one thread; [`ModelOptions`] has more options.
    ///
    /// # Errors
    /// Errors of the file and the engine, or if the model does not predict keypoints.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        ModelOptions::new().open(path)?.into_pose()
    }

    /// Verifies and compiles the bytes of a model file.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        ModelOptions::new().from_bytes(bytes)?.into_pose()
    }

    /// Compiles a model whose weights are in memory ([`Model::read`]) or in the file ([`Model::open`]).
    ///
    /// # Errors
    /// Errors of the engine and the preprocessing, or if the model does not predict keypoints.
    pub fn new<W: TensorSource>(model: Model<W>) -> Result<Self, Error> {
        ModelOptions::new().compile(model)?.into_pose()
    }

    /// Enables the flip test: the network also runs on the mirrored image of every person, and the heat maps are
    /// averaged. This doubles the work and is usually slightly better.
    #[must_use]
    pub fn with_flip(self) -> Self {
        Self { flip: Some(self.skeleton().mirrored()), ..self }
    }

    /// Number of threads of one prediction, including the caller's.
    pub fn threads(&self) -> usize {
        self.network.threads()
    }

    /// Options for decoding image files for the model.
    pub fn decode_options(&self) -> DecodeOptions {
        self.network.transform.decode_options()
    }

    /// The model without its weights: they are packed in the [plan](Self::plan).
    pub fn model(&self) -> &Model<()> {
        &self.network.model
    }

    /// The compiled network.
    pub fn plan(&self) -> &Arc<Plan> {
        self.network.plan()
    }

    /// The keypoints.
    pub fn skeleton(&self) -> &Skeleton {
        self.network.model.skeleton().expect("a keypoint network")
    }

    /// The part of an image that the network sees for a box.
    pub fn crop(&self, bbox: PersonBox) -> PersonCrop {
        PersonCrop::around(bbox, self.maps.input)
    }

    /// The attention of every dynamic layer for one box.
    ///
    /// # Errors
    /// Errors of the engine.
    pub fn attention(&self, image: &Image, bbox: PersonBox) -> Result<Vec<LayerAttention>, Error> {
        Ok(self.network.run_with_attention(&self.preprocess(image, bbox))?.1)
    }

    /// The network's input for a box, `[C, H, W]`: cropped, resized and normalized as the model specifies.
    pub fn preprocess(&self, image: &Image, bbox: PersonBox) -> Vec<f32> {
        self.network.transform.crop(image, self.crop(bbox))
    }

    /// Heat maps `[batch, joints, height, width]` of preprocessed inputs `[batch, C, H, W]`.
    ///
    /// # Errors
    /// If the input has the wrong length.
    pub fn heat_maps(&self, input: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.network.run(input, batch)
    }

    /// The keypoints in each box, in pixels of the image.
    ///
    /// # Errors
    /// Errors of the engine, or if the network's output is NaN or infinite for a keypoint.
    pub fn predict(&self, image: &Image, boxes: &[PersonBox]) -> Result<Vec<Vec<FoundKeypoint>>, Error> {
        let answers = self.answers(image, boxes)?;
        let unknown = answers.iter().flatten().filter(|joint| !joint.is_known()).count();
        match unknown {
            0 => Ok(answers),
            _ => Err(Error::NoKeypoints { unknown, joints: answers.iter().map(Vec::len).sum() }),
        }
    }

    /// Like [`predict`](Self::predict), but keypoints may be unknown ([`FoundKeypoint::is_known`]).
    pub(crate) fn answers(&self, image: &Image, boxes: &[PersonBox]) -> Result<Vec<Vec<FoundKeypoint>>, Error> {
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

    /// The heat maps of several crops, one after the other.
    fn run(&self, image: &Image, crops: &[PersonCrop]) -> Result<Vec<f32>, Error> {
        let inputs: Vec<f32> = crops.iter().flat_map(|crop| self.network.transform.crop(image, *crop)).collect();
        self.network.run(&inputs, crops.len())
    }
}
