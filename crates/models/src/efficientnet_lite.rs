//! EfficientNet-Lite (the mobile networks of *EfficientNet*, arXiv 1905.11946, as TensorFlow's repository publishes them) and its
//! dynamic form: the blocks of MobileNetV2 with 5×5 kernels in some stages, ReLU6, no squeeze-and-excitation. Stem and head do not scale.

use dyconv_graph::{Activation, Graph, NodeId, Op};

use crate::blocks::{ConvSpec, Features, InvertedResidual, Net, make_divisible, refuse};
use crate::error::ModelError;
use crate::options::Options;

/// One of the five networks.
pub struct Table {
    /// Multiplies the repeats of every stage but the first and the last, rounded up.
    pub depth: f64,
    /// Multiplies the channels of every stage, before the width of the name does.
    pub width: f64,
    /// Usual side of the images in pixels.
    pub image_size: usize,
    /// Dropout before the classifier.
    pub dropout: f32,
}

/// Kernel, expansion factor, output channels, repeats, stride of the first repeat.
#[rustfmt::skip]
pub const ROWS: [(usize, usize, usize, usize, usize); 7] = [
    // k  t    c  n  s     map for 224 pixels
    (3, 1,  16, 1, 1), // 112
    (3, 6,  24, 2, 2), //  56
    (5, 6,  40, 2, 2), //  28
    (3, 6,  80, 3, 2), //  14
    (5, 6, 112, 3, 1), //  14
    (5, 6, 192, 4, 2), //   7
    (3, 6, 320, 1, 1),
];

/// Channels of the stem.
const STEM: usize = 32;
/// Channels of the last 1×1 convolution.
const HEAD: usize = 1280;

/// 4.7 M parameters, 385 M multiply-adds.
pub const LITE0: Table = Table { depth: 1.0, width: 1.0, image_size: 224, dropout: 0.2 };
/// 5.4 M parameters, 600 M multiply-adds.
pub const LITE1: Table = Table { depth: 1.1, width: 1.0, image_size: 240, dropout: 0.2 };
/// 6.1 M parameters, 860 M multiply-adds.
pub const LITE2: Table = Table { depth: 1.2, width: 1.1, image_size: 260, dropout: 0.3 };
/// 8.2 M parameters, 1.38 G multiply-adds.
pub const LITE3: Table = Table { depth: 1.4, width: 1.2, image_size: 280, dropout: 0.3 };
/// 13.0 M parameters, 2.55 G multiply-adds.
pub const LITE4: Table = Table { depth: 1.8, width: 1.4, image_size: 300, dropout: 0.3 };

impl Table {
    /// Number of blocks of each stage.
    pub fn repeats(&self) -> [usize; 7] {
        let last = ROWS.len() - 1;
        std::array::from_fn(|stage| match stage {
            0 => ROWS[0].3,
            stage if stage == last => ROWS[last].3,
            stage => (self.depth * ROWS[stage].3 as f64).ceil() as usize,
        })
    }
}

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
    refuse("dynamic_shortcut", options.dynamic_shortcut, "EfficientNet-Lite, which has no shortcut convolutions")?;
    refuse("se", !options.se, "EfficientNet-Lite, which has no squeeze-and-excitation")?;
    let mut net = Net::new(dynamic, 1e-3, options)?;
    let act = Activation::Relu6;
    let stride = if options.small_stem { 1 } else { 2 };
    let x = net.builder.input();
    let stem = ConvSpec { out: STEM, kernel: 3, stride, groups: 1, act: Some(act), dynamic: false };
    let mut x = net.conv("stem", x, stem)?;
    let (mut block, mut channels) = (0, STEM);
    for (&(kernel, t, out, _, stride), repeats) in ROWS.iter().zip(table.repeats()) {
        let out = make_divisible(out as f64 * table.width * width);
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let residual = InvertedResidual { kernel, expanded: t * channels, out, stride, se: false, act };
            x = net.inverted_residual(&format!("blocks.{block}"), x, residual)?;
            channels = out;
            block += 1;
        }
    }
    let head = ConvSpec { out: HEAD, kernel: 1, stride: 1, groups: 1, act: Some(act), dynamic: options.dynamic_head };
    let x = net.conv("head", x, head)?;
    Ok((net, x))
}

/// Completes a classifier.
pub(crate) fn classify(table: &Table, mut net: Net<'_>, x: NodeId) -> Result<Graph, ModelError> {
    let x = net.builder.push("pool", Op::GlobalAvgPool, &[x])?;
    net.classify(x, table.dropout)
}
