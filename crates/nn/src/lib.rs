//! Training: dynamic convolution for [Burn](burn), and networks built from a [`dyconv_graph::Graph`].
//!
//! [`DynamicConv2d`] and [`DynamicLinear`] are drop-in layers for any Burn model; [`Network`] makes a whole graph
//! trainable, and loads and stores the weights of a model file.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use dyconv_nn::DynamicConv2dConfig;
//!
//! let device = Device::flex().autodiff();
//! let layer = DynamicConv2dConfig::new([8, 16], [3, 3]).with_padding([1, 1]).init(&device);
//! let x = Tensor::<4>::random([1, 8, 10, 10], Distribution::Default, &device);
//! assert_eq!(layer.forward(x).dims(), [1, 16, 10, 10]);
//! ```
#![forbid(unsafe_code)]

mod attention;
mod batch_norm;
mod custom_ops;
mod dynamic_conv2d;
mod dynamic_linear;
mod geometry;
mod layer;
mod network;
mod operations;
pub mod ops;
mod processes;
mod reference;
mod structure;
mod trained;
mod value;

pub use attention::Attention;
pub use batch_norm::BatchNorm;
pub use dyconv_train_kernels::{Isa, keep_freed_memory, start_threads, wanted_threads};
pub use dynamic_conv2d::{DynamicConv2d, DynamicConv2dConfig};
pub use dynamic_linear::{DynamicLinear, DynamicLinearConfig};
pub use network::{Network, NetworkError};
pub use operations::Operations;
pub use processes::enable_sync_batch_norm;
pub use trained::{Gradients, Trained};
pub use value::Value;
