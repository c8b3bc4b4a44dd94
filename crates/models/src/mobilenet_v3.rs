//! MobileNetV3 (arXiv 1905.02244), its early Small network, and their dynamic forms.

use dyconv_graph::Activation::{self, HardSwish as HS, Relu as RE};
use dyconv_graph::{Graph, Linear, NodeId, Op};

use crate::blocks::{ConvSpec, Features, InvertedResidual, Net, make_divisible, refuse};
use crate::error::ModelError;
use crate::options::Options;

/// One inverted residual block: kernel, expansion size, output channels, squeeze-and-excitation, activation, stride.
pub type Row = (usize, usize, usize, bool, Activation, usize);

/// A MobileNetV3.
pub struct Table {
    /// The blocks after the 16-channel stem.
    pub rows: &'static [Row],
    /// Channels of the last 1×1 convolution.
    pub head: usize,
    /// Whether squeeze-and-excitation follows the last 1×1 convolution.
    pub head_se: bool,
    /// Width of the layer before the classifier (not scaled).
    pub hidden: usize,
}

/// The final Small network (56 M multiply-adds).
#[rustfmt::skip]
pub const SMALL: Table = Table {
    //       k  exp  out  SE     act stride   map for 224 pixels
    rows: &[(3,  16,  16, true,  RE, 2), //   56
            (3,  72,  24, false, RE, 2), //   28
            (3,  88,  24, false, RE, 1),
            (5,  96,  40, true,  HS, 2), //   14
            (5, 240,  40, true,  HS, 1),
            (5, 240,  40, true,  HS, 1),
            (5, 120,  48, true,  HS, 1),
            (5, 144,  48, true,  HS, 1),
            (5, 288,  96, true,  HS, 2), //    7
            (5, 576,  96, true,  HS, 1),
            (5, 576,  96, true,  HS, 1)],
    head: 576,
    head_se: false,
    hidden: 1024,
};

/// The early Small network that the dynamic convolution paper used (66 M multiply-adds): the stride of row 4 is in
/// row 5, squeeze-and-excitation follows the head, and the hidden layer is wider.
#[rustfmt::skip]
pub const SMALL_EARLY: Table = Table {
    //       k  exp  out  SE     act stride   map for 224 pixels
    rows: &[(3,  16,  16, true,  RE, 2), //   56
            (3,  72,  24, false, RE, 2), //   28
            (3,  88,  24, false, RE, 1),
            (5,  96,  40, true,  HS, 1),
            (5, 240,  40, true,  HS, 2), //   14
            (5, 240,  40, true,  HS, 1),
            (5, 120,  48, true,  HS, 1),
            (5, 144,  48, true,  HS, 1),
            (5, 288,  96, true,  HS, 2), //    7
            (5, 576,  96, true,  HS, 1),
            (5, 576,  96, true,  HS, 1)],
    head: 576,
    head_se: true,
    hidden: 1280,
};

/// The Large network.
#[rustfmt::skip]
pub const LARGE: Table = Table {
    //       k  exp  out  SE     act stride   map for 224 pixels
    rows: &[(3,  16,  16, false, RE, 1), //  112
            (3,  64,  24, false, RE, 2), //   56
            (3,  72,  24, false, RE, 1),
            (5,  72,  40, true,  RE, 2), //   28
            (5, 120,  40, true,  RE, 1),
            (5, 120,  40, true,  RE, 1),
            (3, 240,  80, false, HS, 2), //   14
            (3, 200,  80, false, HS, 1),
            (3, 184,  80, false, HS, 1),
            (3, 184,  80, false, HS, 1),
            (3, 480, 112, true,  HS, 1),
            (3, 672, 112, true,  HS, 1),
            (5, 672, 160, true,  HS, 2), //    7
            (5, 960, 160, true,  HS, 1),
            (5, 960, 160, true,  HS, 1)],
    head: 960,
    head_se: false,
    hidden: 1280,
};

/// Builds the network at a width multiplier.
///
/// # Errors
/// If an option has no effect here, or the images are too small.
pub fn build(table: &Table, width: f64, dynamic: bool, options: &Options) -> Result<Graph, ModelError> {
    let (net, x) = features(table, width, dynamic, options)?;
    classify(table, net, x)
}

/// The network up to its last convolution, including the squeeze-and-excitation after it, if any.
pub(crate) fn features<'a>(table: &Table, width: f64, dynamic: bool, options: &'a Options) -> Features<'a> {
    refuse("dynamic_shortcut", options.dynamic_shortcut, "MobileNetV3, which has no shortcut convolutions")?;
    let mut net = Net::new(dynamic, 1e-3, options)?;
    let stride = if options.small_stem { 1 } else { 2 };
    let out = make_divisible(16.0 * width);
    let x = net.builder.input();
    let mut x = net.conv("stem", x, ConvSpec { out, kernel: 3, stride, groups: 1, act: Some(HS), dynamic: false })?;
    for (block, &(kernel, expanded, out, se, act, stride)) in table.rows.iter().enumerate() {
        let [expanded, out] = [expanded, out].map(|c| make_divisible(c as f64 * width));
        let residual = InvertedResidual { kernel, expanded, out, stride, se: se && options.se, act };
        x = net.inverted_residual(&format!("blocks.{block}"), x, residual)?;
    }
    let head = make_divisible(table.head as f64 * width);
    let dynamic = options.dynamic_head;
    x = net.conv("head", x, ConvSpec { out: head, kernel: 1, stride: 1, groups: 1, act: Some(HS), dynamic })?;
    if table.head_se && options.se {
        x = net.squeeze_excite("head.se", x)?;
    }
    Ok((net, x))
}

/// Completes a classifier.
pub(crate) fn classify(table: &Table, mut net: Net<'_>, x: NodeId) -> Result<Graph, ModelError> {
    let x = net.builder.push("pool", Op::GlobalAvgPool, &[x])?;
    let hidden = Linear { out_features: table.hidden, bias: true };
    let x = net.builder.push("hidden", Op::Linear(hidden), &[x])?;
    let x = net.builder.push("hidden.act", Op::Activation(HS), &[x])?;
    net.classify(x, 0.2)
}
