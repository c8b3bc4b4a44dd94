//! The JSON under the metadata key `dyconv`.

use dyconv_graph::{Graph, Shape};
use dyconv_task::{Preprocessing, Task};
use serde::{Deserialize, Serialize};

use crate::error::ModelFileErrorKind;
use crate::model::{Model, Provenance};

/// The JSON, field by field.
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

impl Header {
    /// The model with these weights.
    pub fn model<W>(self, weights: W) -> Model<W> {
        let Self { tau, preprocessing, task, provenance, graph, .. } = self;
        Model { graph, weights, tau, preprocessing, task, provenance }
    }

    /// Checks what serde cannot see.
    pub fn check(&self) -> Result<(), ModelFileErrorKind> {
        let fail = |message: String| Err(ModelFileErrorKind::Header(message));
        if !(self.tau.is_finite() && self.tau > 0.0) {
            return fail(format!("tau must be a positive number, got {}", self.tau));
        }
        let sound = self.preprocessing.check().and_then(|()| self.task.check_preprocessing(&self.preprocessing));
        sound.map_err(|e| ModelFileErrorKind::Header(format!("preprocessing: {e}")))?;
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
                skeleton.check().map_err(|e| ModelFileErrorKind::Header(format!("task: keypoints: {e}")))?;
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
