//! What a caller says about an import.

use dyconv_task::Skeleton;
use serde_json::{Map, Value};

/// What the source of an import does not say, or says wrongly. By default the source decides everything.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// State dicts: name of the architecture. By default it is what `config.json` beside the weights says, else it is recognized
    /// by the tensors.
    pub arch: Option<String>,
    /// Height and width of the input in pixels. By default they are what the source says, else those of the inputs of `check`,
    /// else 224.
    pub image_size: Option<[usize; 2]>,
    /// Classifiers: names of the classes in the order of the outputs. By default they are those of the source, else numbers.
    pub classes: Option<Vec<String>>,
    /// Keypoint networks: what the heat maps are of. By default it is what the source says, else the 17 keypoints of COCO.
    pub skeleton: Option<Skeleton>,
    /// Temperature τ of the routers' softmax. By default it is that of the source, else 1, or 30 for new routers.
    pub tau: Option<f32>,
    /// Makes convolutions dynamic, with this number (at least 2) of kernels each, whose mean is the static kernel. Attention begins
    /// uniform, so the answers stay the same until it is trained.
    pub to_dynamic: Option<usize>,
    /// Keys of [`Preprocessing`](dyconv_task::Preprocessing) with their values in JSON, over those of the source or
    /// ImageNet's: `resize`, `mean`, `std`, `orientation`, `interpolation`, `crop`.
    pub preprocessing: Map<String, Value>,
    /// Inputs and the answers of the original network, to compare with. By default the test data beside an ONNX file are, if
    /// there are any.
    pub check: Option<Pair>,
}

/// Inputs of a network, and its answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// `[N, C, H, W]`, as the network takes it: normalized.
    pub input: Array,
    /// `[N, classes]`, or `[N, joints, height, width]` of heat maps.
    pub output: Array,
}

/// An array of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// What messages call it, such as the name of its file.
    pub name: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The values, the last axis first.
    pub values: Vec<f32>,
}

impl Pair {
    /// Height and width of the inputs, if they are images.
    pub(crate) fn image_size(&self) -> Option<[usize; 2]> {
        match self.input.shape[..] {
            [_, _, height, width] => Some([height, width]),
            _ => None,
        }
    }
}
