//! A model: the network and everything that is needed to use it.

use dyconv_graph::{Graph, Weights};
use dyconv_task::{Fingerprint, Preprocessing, Skeleton, Task};
use serde::{Deserialize, Serialize};

/// A network with everything that is needed to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model<W = Weights> {
    /// What is computed.
    pub graph: Graph,
    /// The tensors of the graph: in memory, in the file (`Mapped`), or dropped (`()`).
    pub weights: W,
    /// Temperature τ of every softmax router; evaluation uses exactly this value.
    pub tau: f32,
    /// How an image becomes the network's input.
    pub preprocessing: Preprocessing,
    /// What the answer means.
    pub task: Task,
    /// Where the model comes from.
    pub provenance: Provenance,
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

impl<W> Model<W> {
    /// The model without its weights, and the weights.
    pub fn split(self) -> (Model<()>, W) {
        let Self { graph, weights, tau, preprocessing, task, provenance } = self;
        (Model { graph, weights: (), tau, preprocessing, task, provenance }, weights)
    }

    /// Class names of a classifier; none of a keypoint network.
    pub fn classes(&self) -> &[String] {
        self.task.classes()
    }

    /// The joints of a keypoint network.
    pub fn skeleton(&self) -> Option<&Skeleton> {
        self.task.skeleton()
    }
}
