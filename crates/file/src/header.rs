//! The JSON under the metadata key `dyconv`, and writing it.

use std::collections::HashMap;

use dyconv_graph::{Graph, Shape};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::{Fingerprint, Model, Problem, Skeleton, VERSION};

/// Metadata key of the header.
pub(crate) const KEY: &str = "dyconv";

/// What is done with the EXIF orientation of a photograph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// The picture is turned as the camera says, so that it is upright.
    #[default]
    Exif,
    /// The pixels stay as they lie in the file.
    Ignore,
}

/// How an image becomes the network's input: turned upright or not, resize of the shorter side, centre crop, /255,
/// (x − mean) / std.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Height and width of the network's input in pixels.
    pub image_size: [usize; 2],
    /// Length in pixels to which the shorter side is resized before the centre crop.
    pub resize: usize,
    /// Mean of each channel, on the scale 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on the scale 0 to 1.
    pub std: Vec<f32>,
    /// Whether photographs are turned as their EXIF orientation says.
    pub orientation: Orientation,
}

impl Preprocessing {
    /// The usual statistics: ImageNet's for colour, 0.5 for grey. Photographs are turned upright.
    pub fn usual(channels: usize, image_size: [usize; 2], resize: usize) -> Self {
        let (mean, std) = match channels {
            3 => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
            n => (vec![0.5; n], vec![0.5; n]),
        };
        Self { channels, image_size, resize, mean, std, orientation: Orientation::Exif }
    }

    /// Checks the bounds of every field.
    ///
    /// # Errors
    /// A sentence naming the field and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.channels != 1 && self.channels != 3 {
            return Err(format!("channels must be 1 or 3, got {}", self.channels));
        }
        if self.image_size.iter().chain([&self.resize]).any(|s| !(1..=16_384).contains(s)) {
            let [h, w] = self.image_size;
            return Err(format!(
                "image_size and resize must lie in 1..=16384 pixels, got [{h}, {w}] and {}",
                self.resize
            ));
        }
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                return Err(format!(
                    "{field} needs one value for each of {} channels, got {}",
                    self.channels,
                    values.len()
                ));
            }
            if values.iter().any(|v| !v.is_finite() || (field == "std" && *v < 1e-6)) {
                return Err(format!(
                    "{field} holds a value that is not finite, or a deviation that is not positive: {values:?}"
                ));
            }
        }
        Ok(())
    }
}

/// What the network's answer means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One logit for each class.
    Classification {
        /// Names in the order of the logits.
        classes: Vec<String>,
    },
    /// One heat map for each joint of the person (or hand, animal …) that fills the image: the answer is a map
    /// `[joints, height, width]`, and the largest value of each is where the joint is. [`Preprocessing::resize`] has no
    /// meaning: a box is cut out and brought to `image_size`.
    Keypoints(Skeleton),
}

/// Where a model comes from. Holds nothing that differs between two equal runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub producer: String,
    /// Name of the architecture.
    pub model: String,
    /// The complete recipe it was trained by, as TOML; empty for an untrained model.
    pub recipe: String,
    /// What the data are known by that it was trained on; files of version 1 do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Fingerprint>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub version: u64,
    pub tau: f32,
    pub preprocessing: Preprocessing,
    pub task: Task,
    #[serde(default)]
    pub provenance: Provenance,
    pub graph: Graph,
}

pub(crate) fn to_bytes(model: &Model) -> Result<Vec<u8>, Problem> {
    let header = Header {
        version: VERSION,
        tau: model.tau,
        preprocessing: model.preprocessing.clone(),
        task: model.task.clone(),
        provenance: model.provenance.clone(),
        graph: model.graph.clone(),
    };
    header.check()?;
    let json = serde_json::to_string(&header).map_err(|e| Problem::Header(e.to_string()))?;
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = model
        .weights
        .0
        .iter()
        .map(|(name, t)| (name, &t.shape, t.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, (*shape).clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), json)]))))
        .map_err(|e| Problem::Container(e.to_string()))
}

impl Header {
    /// The model with these weights.
    pub fn model<W>(self, weights: W) -> Model<W> {
        let Self { tau, preprocessing, task, provenance, graph, .. } = self;
        Model { graph, weights, tau, preprocessing, task, provenance }
    }

    /// Checks what serde cannot see.
    pub fn check(&self) -> Result<(), Problem> {
        let fail = |message: String| Err(Problem::Header(message));
        if !(self.tau.is_finite() && self.tau > 0.0) {
            return fail(format!("tau must be a positive number, got {}", self.tau));
        }
        self.preprocessing.check().map_err(|e| Problem::Header(format!("preprocessing: {e}")))?;
        let [c, h, w] = self.graph.input_dims();
        let p = &self.preprocessing;
        if [p.channels, p.image_size[0], p.image_size[1]] != [c, h, w] {
            return fail(format!(
                "preprocessing makes [{}, {}, {}], but the graph's input is [{c}, {h}, {w}]",
                p.channels, p.image_size[0], p.image_size[1]
            ));
        }
        match (&self.task, self.graph.output_shape()) {
            (Task::Classification { classes }, Shape::Vector(n)) if n == classes.len() => Ok(()),
            (Task::Classification { classes }, shape) => {
                fail(format!("{} class names, but the graph's answer has shape {shape}", classes.len()))
            }
            (Task::Keypoints(skeleton), shape) => {
                skeleton.check().map_err(|e| Problem::Header(format!("task: keypoints: {e}")))?;
                match shape {
                    Shape::Map([joints, _, _]) if joints == skeleton.joints.len() => Ok(()),
                    shape => {
                        fail(format!("{} joints, but the graph's answer has shape {shape}", skeleton.joints.len()))
                    }
                }
            }
        }
    }
}
