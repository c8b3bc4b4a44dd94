//! The errors of this crate.

use std::path::PathBuf;

use dyconv_graph::{GraphError, WeightsError, short_name, short_text};
use dyconv_models::ModelError;

use crate::report::Report;

/// What went wrong while weights were read, recognized or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// A file that cannot be used.
    #[error("{}: {kind}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        kind: FileProblem,
    },
    /// A source that is no file, no hub folder and not in the local cache.
    #[error("{0}")]
    Source(String),
    /// There is no such architecture.
    #[error("unknown architecture `{}`; did you mean `{suggestion}`?", short_name(name))]
    Architecture {
        /// The unknown name.
        name: String,
        /// The nearest known name.
        suggestion: String,
    },
    /// Class names for another number of outputs.
    #[error("{named} class names came with the weights, but the network has {outputs} outputs")]
    Classes {
        /// Number of class names.
        named: usize,
        /// Number of outputs of the network.
        outputs: usize,
    },
    /// No architecture has these tensor names.
    #[error("{0}")]
    Unrecognized(String),
    /// Tensors are missing or have other shapes; the report has all of them.
    #[error("{}", .0.problem())]
    Mismatch(Box<Report>),
    /// A temperature that is none.
    #[error("`{}` is {tau}, expected a positive finite number: it is the temperature of a router", short_name(name))]
    Temperature {
        /// Name of the tensor.
        name: String,
        /// Its value.
        tau: f32,
    },
    /// Routers with different temperatures; a network has one.
    #[error(
        "the routers have different temperatures, `{}` is {} and `{}` is {}; a network has one: set all to the same value",
        short_name(&names[0]), taus[0], short_name(&names[1]), taus[1]
    )]
    Temperatures {
        /// Names of two tensors.
        names: [String; 2],
        /// Their values.
        taus: [f32; 2],
    },
    /// The tensors do not belong to the graph, or have impossible values.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The network cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network's shapes do not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// What can be wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// An I/O error.
    #[error("cannot be {what}: {source}")]
    Io {
        /// `read` or `written`.
        what: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Not a checkpoint, or a damaged one.
    #[error("is not a whole checkpoint: {}", short_text(.0, 500))]
    Container(String),
    /// A checkpoint that describes more data than it has.
    #[error(
        "describes {claimed} bytes of {what}, but the whole file has {file}: it is refused as a decompression bomb"
    )]
    Bomb {
        /// What is described.
        what: &'static str,
        /// The number of bytes described.
        claimed: u64,
        /// The size of the file.
        file: u64,
    },
    /// A tensor that is not read: quantized, sparse, complex.
    #[error("tensor `{}` is {dtype}, and only dense float tensors are read; save the float model", short_name(name))]
    Dtype {
        /// Its name.
        name: String,
        /// What it is.
        dtype: String,
    },
    /// Two tensors of one name.
    #[error("tensor `{}` occurs twice", short_name(.0))]
    Duplicate(String),
    /// No float tensors at all.
    #[error("holds no float tensors; a state dict was expected (a dictionary from names to tensors)")]
    Empty,
    /// A JSON file beside the weights that cannot be used.
    #[error("{}", short_text(.0, 500))]
    Config(String),
}
