//! Writes a graph with its weights as ONNX: opset 17, IR 8.
//!
//! Every graph node becomes one ONNX node of the same name, or several of which the last one has its name; the others,
//! and the constants that belong to no tensor of the graph, have names with a slash, which graph names cannot contain.
//! Tensors keep their names (`<node>.weight`). The input is called `input`, the output `output`. Maps are
//! `[N, C, H, W]`, vectors `[N, C]`. Dropout vanishes, and a batch norm is folded into the convolution whose only reader
//! it is.
//!
//! Dynamic layers have three forms. π is `[N, K]`, a bank has K kernels of O output channels in g groups, and a shift is
//! what a batch norm leaves behind: a bias that is not mixed.
//!
//! | form | layer | nodes |
//! |---|---|---|
//! | exact | convolution | MatMul(π, `.weight` `[1·K, O·I/g·kh·kw]`) → Reshape → the run-time weight of Conv, whose bias is `.shift`, or MatMul(π, `.bias` `[K, O]`) (→ Add `.shift`) → Reshape |
//! | exact | linear | MatMul(π, `.weight` `[K, O·I]`) → Reshape → the run-time weight of Gemm, whose bias is MatMul(π, `.bias`) |
//! | portable | 1×1 convolution | MatMul(π, `.weight` `[K, O·I/g]`) → Reshape `[N, (g,) O/g, I/g]`; (Slice with the strides →) Reshape `[N, (g,) I/g, H·W]`; MatMul of both → Reshape (→ Add MatMul(π, `.bias`) and `.shift`) |
//! | portable | other convolutions | Conv with `.weight` `[g·K·O/g, I/g, kh, kw]` (and `.bias` `[g·K·O/g]`) → Reshape `[N, (g,) K, O/g·H·W]`; Unsqueeze(π) → `[N, 1, (1,) K]`; MatMul of both → Reshape (→ Add `.shift`) |
//! | portable | linear | Gemm with `.weight` `[K·O, I]` (and `.bias` `[K·O]`) → Reshape `[N, K, O]`; Unsqueeze(π); MatMul → Reshape |
//! | frozen | any | the static layer, with Σ_k π_k·W_k for the given π |
//!
//! The axis in parentheses exists where g > 1.

mod emit;
mod encode;
mod fold;
mod metadata;
mod mixture;
mod nodes;
mod values;

use std::collections::BTreeMap;

use dyconv_graph::{Graph, TensorSource};
use dyconv_task::Preprocessing;

pub use encode::ExternalData;
pub use metadata::metadata;

use crate::error::OnnxError;

/// The operator set that is written.
pub const OPSET: i64 = 17;
/// The version of the file format that is written.
pub const IR: i64 = 8;

/// How dynamic layers are written. Static networks are the same in every form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The mixed kernel is computed at run time and used by an ordinary convolution: the least arithmetic, for a batch of
    /// one.
    Exact,
    /// For any batch, and without run-time convolution weights: a 1×1 convolution is a batched matrix product, any other
    /// is one static convolution with K times the outputs, which are then mixed.
    #[default]
    Portable,
    /// With constant attention: a static network.
    Frozen,
}

/// The number of samples that the written network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batch {
    /// Any number; the dimension is called `batch`.
    #[default]
    Free,
    /// This number.
    Fixed(usize),
}

/// What is written besides the network.
#[derive(Debug, Clone)]
pub struct WriteOptions<'a> {
    /// How dynamic layers are written.
    pub form: Form,
    /// The number of samples.
    pub batch: Batch,
    /// Normalization to put before the network; the input then is `[N, H, W, C]` of unsigned bytes. Resizing and
    /// cropping are left to the caller.
    pub preprocessing: Option<&'a Preprocessing>,
    /// Texts for the model's `metadata_props`; see [`metadata()`].
    pub metadata: BTreeMap<String, String>,
    /// For [`Form::Frozen`]: the attention of each dynamic layer, K values by the name of the layer.
    pub attention: Option<&'a BTreeMap<String, Vec<f32>>>,
    /// Name, without a folder, of the file beside the model that takes the tensors of a model above 2 GB.
    pub external_name: &'a str,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self {
            form: Form::default(),
            batch: Batch::default(),
            preprocessing: None,
            metadata: BTreeMap::new(),
            attention: None,
            external_name: "model.onnx.data",
        }
    }
}

/// A written model.
#[derive(Debug, Clone)]
pub struct Written {
    /// The bytes of the ONNX file.
    pub model: Vec<u8>,
    /// The file that must lie beside it, for a model above 2 GB, which is more than protobuf can hold.
    pub external: Option<ExternalData>,
    /// The operator set.
    pub opset: i64,
    /// The version of the file format.
    pub ir: i64,
}

/// Writes a network as ONNX. Tensors are read one at a time.
///
/// # Errors
/// If the weights do not belong to the graph, or the options do not fit it: [`Form::Exact`] with another batch than one,
/// [`Form::Frozen`] without the attention of a layer, preprocessing for another input.
///
/// ```
/// use dyconv_graph::{Builder, Conv2d, Op, init};
/// use dyconv_onnx::write::{WriteOptions, write};
///
/// let mut b = Builder::new([3, 32, 32])?;
/// let x = b.input();
/// let y = b.push("conv", Op::Conv(Conv2d::new(16, [3, 3])), &[x])?;
/// let graph = b.finish(y)?;
/// let written = write(&graph, &init(&graph, Default::default()), 1.0, &WriteOptions::default())?;
/// assert_eq!((written.opset, written.ir), (17, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(
    graph: &Graph,
    weights: &dyn TensorSource,
    tau: f32,
    options: &WriteOptions<'_>,
) -> Result<Written, OnnxError> {
    encode::encode(nodes::emit(graph, weights, tau, options)?, weights, options, encode::INLINE_LIMIT)
}
