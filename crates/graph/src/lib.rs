//! Networks as data.
//!
//! A [`Graph`] is a flat list of named nodes in execution order, each with one [`Op`] from a closed list. Training, the
//! CPU engine, the cost counter and the model file all use this one description.
//!
//! ```
//! use dyconv_graph::{Builder, Conv2d, Linear, MixConv, Op, Router, cost};
//!
//! let mut b = Builder::new([3, 32, 32])?;
//! let x = b.input();
//! let pi = b.router("conv.router", x, &Router { kernels: 4, ..Router::default() })?;
//! let conv = Conv2d { padding: [1, 1], ..Conv2d::new(16, [3, 3]) };
//! let y = b.push("conv", Op::MixConv(MixConv { kernels: 4, conv }), &[x, pi])?;
//! let y = b.push("pool", Op::GlobalAvgPool, &[y])?;
//! let y = b.push("classifier", Op::Linear(Linear { out_features: 10, bias: true }), &[y])?;
//! let graph = b.finish(y)?;
//!
//! assert_eq!(graph.output_shape().dims(), vec![10]);
//! assert_eq!(cost(&graph).total.mixing, 4 * 16 * 3 * 9);
//! # Ok::<(), dyconv_graph::GraphError>(())
//! ```
#![forbid(unsafe_code)]

mod builder;
mod cost;
mod dynamic;
mod error;
mod graph;
mod infer;
mod init;
mod json;
mod op;
mod router;
#[doc(hidden)]
pub mod samples;
mod shape;
mod weights;
pub mod words;

pub use builder::Builder;
pub use cost::{Cost, Madds, NetworkCost, cost};
pub use dynamic::{bank, to_dynamic};
pub use error::GraphError;
pub use graph::{Graph, Mixture, Node, NodeId, Parameter};
pub use init::{Init, RouterInit, init};
pub use json::{GraphJson, NodeJson};
pub use op::{
    Activation, AvgPool2d, Conv2d, ConvTranspose2d, Linear, MixConv, MixLinear, Op, Pool2d, UpsampleMode, same_padding,
};
pub use router::{Gate, Router, RouterStep};
pub use shape::Shape;
pub use weights::{Tensor, TensorSource, Weights, WeightsError, check_shapes, check_values};
pub use words::{short_name, short_text};
