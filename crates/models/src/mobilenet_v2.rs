//! MobileNetV2 (arXiv 1801.04381) and its dynamic form.

use dyconv_graph::{Activation, Graph, NodeId, Op};

use crate::blocks::{ConvSpec, Features, InvertedResidual, Net, refuse, round_channels};
use crate::error::ModelError;
use crate::options::Options;

/// A network of inverted residual blocks.
pub struct Table {
    /// Channels of the stem.
    pub stem: usize,
    /// Expansion factor, output channels, repeats, stride of the first repeat.
    pub rows: &'static [(usize, usize, usize, usize)],
    /// Channels of the last 1×1 convolution. Widths above 1 scale it; smaller ones do not.
    pub head: usize,
    /// Channels are rounded to multiples of this.
    pub divisor: usize,
    /// Dropout before the classifier.
    pub dropout: f32,
}

/// The published network.
#[rustfmt::skip]
pub const MOBILENET_V2: Table = Table {
    stem: 32,
    //       t    c  n  s      map for 224 pixels
    rows: &[(1,  16, 1, 1), // 112
            (6,  24, 2, 2), //  56
            (6,  32, 3, 2), //  28
            (6,  64, 4, 2), //  14
            (6,  96, 3, 1), //  14
            (6, 160, 3, 2), //   7
            (6, 320, 1, 1)],
    head: 1280,
    divisor: 8,
    dropout: 0.2,
};

/// For 32 × 32 pixels, trained in about a minute on one core: all 23 block convolutions have 4 to 24 channels.
#[rustfmt::skip]
pub const MB4: Table = Table {
    stem: 6,
    //       t  c  n  s     map for 32 pixels
    rows: &[(1, 4, 1, 1), // 16
            (3, 4, 2, 2), //  8
            (3, 6, 3, 2), //  4
            (3, 8, 2, 1)],
    head: 32,
    divisor: 1,
    dropout: 0.0,
};

/// Builds the network at a width multiplier.
///
/// # Errors
/// If an option has no effect here, or the images are too small.
pub fn build(table: &Table, width: f64, dynamic: bool, options: &Options) -> Result<Graph, ModelError> {
    let (net, x) = features(table, width, dynamic, options)?;
    classify(table, net, x)
}

/// The network up to its last convolution.
pub(crate) fn features<'a>(table: &Table, width: f64, dynamic: bool, options: &'a Options) -> Features<'a> {
    refuse("dynamic_shortcut", options.dynamic_shortcut, "MobileNetV2, which has no shortcut convolutions")?;
    refuse("se", !options.se, "MobileNetV2, which has no squeeze-and-excitation")?;
    let mut net = Net::new(dynamic, 1e-5, options)?;
    let relu6 = Some(Activation::Relu6);
    let stride = if options.small_stem { 1 } else { 2 };
    let mut c = round_channels(table.stem as f64 * width, table.divisor);
    let x = net.builder.input();
    let mut x = net.conv("stem", x, ConvSpec { out: c, kernel: 3, stride, groups: 1, act: relu6, dynamic: false })?;
    let mut block = 0;
    for &(t, out, repeats, stride) in table.rows {
        let out = round_channels(out as f64 * width, table.divisor);
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let (expanded, act) = (t * c, Activation::Relu6);
            let residual = InvertedResidual { kernel: 3, expanded, out, stride, se: false, act };
            x = net.inverted_residual(&format!("blocks.{block}"), x, residual)?;
            c = out;
            block += 1;
        }
    }
    let head = round_channels(table.head as f64 * width.max(1.0), table.divisor);
    let dynamic = options.dynamic_head;
    let x = net.conv("head", x, ConvSpec { out: head, kernel: 1, stride: 1, groups: 1, act: relu6, dynamic })?;
    Ok((net, x))
}

/// Completes a classifier.
pub(crate) fn classify(table: &Table, mut net: Net<'_>, x: NodeId) -> Result<Graph, ModelError> {
    let x = net.builder.push("pool", Op::GlobalAvgPool, &[x])?;
    net.classify(x, table.dropout)
}
