//! The model file: one `.safetensors` file that is a whole function.
//!
//! Weights, the graph that says what they mean, the temperature, the preprocessing and the class names travel together,
//! so a model that is read back is the same function. `docs/model-file.md` describes the format for other languages.
//!
//! [`Model::read`] brings everything into memory; [`Model::open`] leaves the weights in the file, mapped, for who takes them one
//! by one ([`TensorSource`]). The one module with unsafe code is the mapping.

mod atomic;
mod header;
mod map;
mod read;

use std::path::{Path, PathBuf};

use dyconv_graph::{Graph, Tensor, TensorSource, Weights, WeightsError, short_name};

pub use atomic::write_atomically;
pub use dyconv_task::{Fingerprint, Orientation, Preprocessing, Skeleton, Task};
pub use header::Provenance;
pub use read::{MAX_FILE_BYTES, MAX_HEADER_BYTES, Mapped};

/// A network with everything that is needed to use it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model<W = Weights> {
    /// What is computed.
    pub graph: Graph,
    /// The tensors of the graph: in memory, in the file ([`Mapped`]), or dropped (`()`).
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

/// A model file that cannot be read or written: names the file and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What may be wrong with a model file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system refused.
    #[error("cannot be {what}: {source}")]
    Io {
        /// `read` or `written`.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
    /// No safetensors file at all, or a damaged one.
    #[error("is not a whole safetensors file ({0}); it may be cut short or something else")]
    Container(String),
    /// A safetensors file of somebody else.
    #[error("is a safetensors file, but no dyconv model: its metadata has no key `dyconv`")]
    Foreign,
    /// Written in a format that this program does not know.
    #[error(
        "has model-file version {0}, this program reads versions 1 to {VERSION}; use the dyconv that wrote it or a newer one"
    )]
    Version(u64),
    /// The description in the header is malformed.
    #[error("has a header that cannot be used: {0}")]
    Header(String),
    /// A tensor is not stored as 32-bit floats.
    #[error("tensor `{}` is stored as {found}, expected F32", short_name(name))]
    Dtype {
        /// Its name.
        name: String,
        /// Its element type.
        found: String,
    },
    /// The tensors do not fit the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Version of the format that is written. All from 1 on are read.
pub const VERSION: u64 = 2;

impl Model {
    /// Reads and verifies a model file.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or describes a network that cannot exist; see [`Problem`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let fail = |problem| FileError { path: path.to_owned(), problem };
        let (model, mapped) = Model::open(path)?.split();
        let mut weights = Weights::default();
        for parameter in model.graph.parameters() {
            let mut data = Vec::new();
            // The tensor is in the file, so this is no claim; memory may be shorter.
            let refused = |_| fail(Problem::Io { what: "read", source: std::io::ErrorKind::OutOfMemory.into() });
            data.try_reserve_exact(parameter.elements()).map_err(refused)?;
            mapped.read(&parameter.name, &mut data).map_err(|e| fail(e.into()))?;
            weights.0.insert(parameter.name, Tensor::new(&parameter.shape, data));
        }
        let Model { graph, tau, preprocessing, task, provenance, .. } = model;
        Ok(Model { graph, weights, tau, preprocessing, task, provenance })
    }

    /// Verifies a model file that is in memory.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        read::model(bytes)
    }

    /// The bytes of the model file; the same model gives the same bytes.
    ///
    /// # Errors
    /// When the weights do not fit the graph, or what describes them would be more than 16 MiB: no such file is read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Problem> {
        self.weights.check(&self.graph)?;
        let bytes = header::to_bytes(self)?;
        read::check_header_length(&bytes)?;
        Ok(bytes)
    }

    /// Writes the model file in one step: a reader sees the old file or the whole new one, whatever happens.
    ///
    /// # Errors
    /// When the weights do not fit the graph, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let fail = |problem| FileError { path: path.to_owned(), problem };
        let bytes = self.to_bytes().map_err(fail)?;
        write_atomically(path, &bytes).map_err(|source| fail(Problem::Io { what: "written", source }))
    }
}

impl Model<Mapped> {
    /// Maps a model file and verifies everything but the values of its tensors, which are verified when they are read. Neither
    /// this nor what reads from it ever holds the whole file in memory. The file must not be cut short while it is open: replace
    /// it (as [`Model::write`] does) and never edit it in place.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        map::Map::open(path).and_then(read::mapped).map_err(|problem| FileError { path: path.to_owned(), problem })
    }
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
