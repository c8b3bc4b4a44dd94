//! The error type of this crate.

use dyconv_graph::GraphError;
use dyconv_graph::words::short_name;

/// A network that cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// There is no such architecture.
    #[error("unknown model `{}`; did you mean `{suggestion}`?", short_name(name))]
    Unknown {
        /// The unknown name.
        name: String,
        /// The nearest existing name.
        suggestion: String,
    },
    /// An option out of bounds, or one that has no effect in this network.
    #[error("model option `{option}`: {message}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The network's shapes do not fit, for example because the images are too small.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
