//! ResNet (arXiv 1512.03385) with basic or bottleneck blocks, and its dynamic form.

use dyconv_graph::Activation::Relu;
use dyconv_graph::{Graph, NodeId, Op, Pool2d};

use crate::blocks::{ConvSpec, Features, Net, refuse};
use crate::error::ModelError;
use crate::options::{DynamicParts, Options};

/// The first convolution.
pub struct Stem {
    /// Kernel side in pixels.
    pub kernel: usize,
    /// Whether max-pooling follows, which halves the map again.
    pub pool: bool,
}

/// A ResNet: four stages, the first at the stem's resolution, each later one at half the resolution of the one before.
pub struct Table {
    /// Number of blocks of each stage.
    pub depths: [usize; 4],
    /// Channels of the stem and of the four stages (inside the block for a bottleneck).
    pub channels: [usize; 5],
    /// First convolution, with stride 2, unless the option `small_stem` replaces it.
    pub stem: Stem,
    /// Three convolutions per block (1×1, 3×3, 1×1 to four times the channels) instead of two 3×3.
    pub bottleneck: bool,
}

const CHANNELS: [usize; 5] = [64, 64, 128, 256, 512];
const STEM: Stem = Stem { kernel: 7, pool: true };

/// One basic block per stage.
pub const RESNET10: Table = Table { depths: [1, 1, 1, 1], channels: CHANNELS, stem: STEM, bottleneck: false };
/// Two basic blocks per stage.
pub const RESNET18: Table = Table { depths: [2, 2, 2, 2], channels: CHANNELS, stem: STEM, bottleneck: false };
/// Bottleneck blocks; the 3×3 convolution has the stride.
pub const RESNET50: Table = Table { depths: [3, 4, 6, 3], channels: CHANNELS, stem: STEM, bottleneck: true };
/// For 32 × 32 pixels, trained in about a minute on one core: the smallest network on which dynamic kernels show a gain.
pub const RN4: Table = Table {
    depths: [1, 1, 1, 1],
    channels: [4, 4, 6, 8, 12],
    stem: Stem { kernel: 3, pool: false },
    bottleneck: false,
};

/// Builds the network at a width multiplier.
///
/// # Errors
/// If an option has no effect here, or the images are too small.
pub fn build(table: &Table, width: f64, dynamic: bool, options: &Options) -> Result<Graph, ModelError> {
    let (net, x) = features(table, width, dynamic, options)?;
    classify(net, x)
}

/// The network up to its last block.
pub(crate) fn features<'a>(table: &Table, width: f64, dynamic: bool, options: &'a Options) -> Features<'a> {
    refuse("dynamic_head", options.dynamic_head, "ResNet, which has no head convolution")?;
    refuse(
        "dynamic_parts",
        options.dynamic_parts != DynamicParts::default(),
        "ResNet, which has no inverted residuals",
    )?;
    refuse("se", !options.se, "ResNet, which has no squeeze-and-excitation")?;
    let mut net = Net::new(dynamic, 1e-5, options)?;
    let scaled = table.channels.map(|c| ((c as f64 * width).round() as usize).max(1));
    let x = net.builder.input();
    let kernel = table.stem.kernel;
    let stem = ConvSpec { out: scaled[0], kernel, stride: 2, groups: 1, act: Some(Relu), dynamic: false };
    let mut x = if options.small_stem {
        net.conv("stem", x, ConvSpec { kernel: 3, stride: 1, ..stem })?
    } else if !table.stem.pool {
        net.conv("stem", x, stem)?
    } else {
        let x = net.conv("stem", x, stem)?;
        let pool = Pool2d { padding: [1, 1], ..Pool2d::new(3, 2) };
        net.builder.push("stem.pool", Op::MaxPool(pool), &[x])?
    };
    for (stage, depth) in table.depths.iter().enumerate() {
        for block in 0..*depth {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            x = residual(&mut net, &name, x, scaled[stage + 1], stride, table.bottleneck)?;
        }
    }
    Ok((net, x))
}

/// Completes a classifier.
pub(crate) fn classify(mut net: Net<'_>, x: NodeId) -> Result<Graph, ModelError> {
    let x = net.builder.push("pool", Op::GlobalAvgPool, &[x])?;
    net.classify(x, 0.0)
}

fn residual(
    net: &mut Net<'_>,
    name: &str,
    x: NodeId,
    channels: usize,
    stride: usize,
    bottleneck: bool,
) -> Result<NodeId, ModelError> {
    let out = if bottleneck { 4 * channels } else { channels };
    let conv3 = ConvSpec { out: channels, kernel: 3, stride, groups: 1, act: Some(Relu), dynamic: true };
    let conv1 = ConvSpec { kernel: 1, stride: 1, ..conv3 };
    let at = |part: &str| format!("{name}.{part}");
    let y = if bottleneck {
        let y = net.conv(&at("conv1"), x, conv1)?;
        let y = net.conv(&at("conv2"), y, conv3)?;
        net.conv(&at("conv3"), y, ConvSpec { out, act: None, ..conv1 })?
    } else {
        let y = net.conv(&at("conv1"), x, conv3)?;
        net.conv(&at("conv2"), y, ConvSpec { stride: 1, act: None, ..conv3 })?
    };
    let shortcut = if stride != 1 || net.builder.shape(x).channels() != out {
        let dynamic = net.options.dynamic_shortcut;
        net.conv(&at("shortcut"), x, ConvSpec { out, kernel: 1, stride, groups: 1, act: None, dynamic })?
    } else {
        x
    };
    let y = net.builder.push(&at("add"), Op::Add, &[y, shortcut])?;
    Ok(net.builder.push(&at("act"), Op::Activation(Relu), &[y])?)
}
