//! The JSON under the metadata key `dyconv`, and writing it.

use std::collections::HashMap;

use dyconv_graph::{Graph, Shape};
use dyconv_task::{Fingerprint, Preprocessing, Task};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::{Model, Problem, VERSION};

/// Metadata key of the header.
pub(crate) const KEY: &str = "dyconv";

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
