//! The error type of this crate.

use dyconv_file::ModelFileErrorKind;
use dyconv_graph::{GraphError, WeightsError, short_name};

/// Why an ONNX file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The bytes are not an ONNX model, or contradict themselves.
    #[error("not a valid ONNX model: {0}")]
    Invalid(String),
    /// The model is valid but not one that a dyconv graph can hold.
    #[error("{0}")]
    Unsupported(String),
    /// Operators that were not understood: the first twenty, and how many there are.
    #[error("{}", list(problems, *total))]
    Operators {
        /// The first of them, in the order of the file.
        problems: Vec<Problem>,
        /// Number of all of them.
        total: usize,
    },
    /// A graph cannot have a node that the file asks for.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A network cannot be written with these options.
    #[error("cannot be written as ONNX: {0}")]
    Options(String),
    /// The weights do not belong to the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A weight that is finite until a batch norm or attention is folded into it.
    #[error("tensor `{}` is not finite once a batch norm or attention is folded into it", short_name(.0))]
    NotFinite(String),
    /// The model's header cannot be written.
    #[error("the model {0}")]
    Header(#[from] ModelFileErrorKind),
    /// External data cannot be written.
    #[error("external data cannot be written: {0}")]
    Io(#[from] std::io::Error),
}

/// Most problems that an error holds.
const MOST: usize = 20;

/// An operator that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the node, shortened for messages, as all names here.
    pub node: String,
    /// Name of the operator.
    pub op_type: String,
    /// What was found, and what is read.
    pub message: String,
    /// Names of its inputs.
    pub inputs: Vec<String>,
    /// The nodes that read its outputs.
    pub readers: Vec<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, op_type, message, inputs, readers } = self;
        write!(f, "node `{node}` ({op_type}): {message}; it reads {}", inputs.join(", "))?;
        if readers.is_empty() { Ok(()) } else { write!(f, " and is read by {}", readers.join(", ")) }
    }
}

impl OnnxError {
    pub(crate) fn operators(mut problems: Vec<Problem>) -> Self {
        let total = problems.len();
        problems.truncate(MOST);
        Self::Operators { problems, total }
    }
}

fn list(problems: &[Problem], total: usize) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let more = total.saturating_sub(problems.len());
    let rest = if more > 0 { format!("\nand {more} more") } else { String::new() };
    format!("{}{rest}", lines.join("\n"))
}
