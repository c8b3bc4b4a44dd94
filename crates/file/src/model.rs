//! A model: the network and everything needed to use it.

use dyconv_graph::{Graph, Weights};
use dyconv_task::{Fingerprint, Preprocessing, Skeleton, Task};
use serde::{Deserialize, Serialize};

/// A network with everything needed to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model<W = Weights> {
    /// The computation.
    pub graph: Graph,
    /// The tensors of the graph: in memory, in the file (`Mapped`), or dropped (`()`).
    pub weights: W,
    /// Temperature τ of every softmax router; evaluation uses exactly this value.
    pub tau: f32,
    /// How an image is turned into the network's input.
    pub preprocessing: Preprocessing,
    /// The meaning of the output.
    pub task: Task,
    /// Where the model comes from.
    pub provenance: Provenance,
}

/// Where the model comes from. Holds nothing that differs between two equal runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub producer: String,
    /// Name of the architecture.
    pub model: String,
    /// The complete training recipe, as TOML; empty for a model that this program did not train.
    pub recipe: String,
    /// Fingerprint of the training data; files of version 1 do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Fingerprint>,
}

impl Provenance {
    /// The producer of models that were trained by another program.
    pub const IMPORT: &str = concat!("dyconv import ", env!("CARGO_PKG_VERSION"));

    /// Whether the weights were trained, by this program or before they were imported.
    pub fn is_trained(&self) -> bool {
        !self.recipe.is_empty() || self.producer.starts_with("dyconv import")
    }
}

impl<W> Model<W> {
    /// Separates the weights from the rest of the model.
    pub fn split(self) -> (Model<()>, W) {
        let Self { graph, weights, tau, preprocessing, task, provenance } = self;
        (Model { graph, weights: (), tau, preprocessing, task, provenance }, weights)
    }

    /// Class names of a classifier; empty for a keypoint network.
    pub fn classes(&self) -> &[String] {
        self.task.classes()
    }

    /// The joints of a keypoint network; `None` for a classifier.
    pub fn skeleton(&self) -> Option<&Skeleton> {
        self.task.skeleton()
    }
}
