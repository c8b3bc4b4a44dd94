//! Single-person keypoint networks: a backbone, and a head that gives one heat map per keypoint.
//!
//! The backbone is a network of [`FAMILIES`](crate::FAMILIES) up to its last convolution. Its stride is 32, so 256×192 pixels
//! become 8×6. Either head doubles the map three times: the sides of a heat map are a quarter of the image's.
//!
//! - **a**: three transposed convolutions (4×4, stride 2) of 256 channels (*Simple Baselines for Human Pose Estimation*, arXiv
//!   1804.06208). It stays static in a `dy_` network.
//! - **b**: bilinear upsampling and inverted residual blocks, which are dynamic in a `dy_` network (*Dynamic Convolution*, arXiv
//!   1912.03458, COCO experiments). The table of this head is not known to us from the paper. [`BOTTLENECKS`] was found by search: its
//!   1.21 M parameters, 703.9 M multiply-adds and 8.3 M more when dynamic are near the reported 1.2 M, 701.1 M and 8.3 M,
//!   but other tables would be as near.
//!
//! `layer_kernels` selects what is dynamic: `"up.*": 1` makes the head static, `"blocks.*": 1` (MobileNets) or
//! `"layer*": 1` (ResNets) the backbone.

use dyconv_graph::{Activation, Conv2d, ConvTranspose2d, Graph, NodeId, Op, UpsampleMode};

use crate::blocks::{InvertedResidual, Net, make_divisible, refuse};
use crate::error::ModelError;

/// Turns features into heat maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Head {
    /// `a`: transposed convolutions.
    Deconvolution,
    /// `b`: upsampling and inverted residual blocks.
    Bottleneck,
}

/// Channels of the three transposed convolutions of head a.
const DECONVOLUTION: usize = 256;

/// Head b: after each doubling, blocks of (expanded, output) channels.
#[rustfmt::skip]
pub const BOTTLENECKS: [&[(usize, usize)]; 3] = [
    //                        map for 256 × 192 pixels
    &[(256, 256), (768, 256)], // 16 × 12
    &[(768, 128)],             // 32 × 24
    &[(384, 128)],             // 64 × 48
];

/// Adds the head to the features `x`, and `heatmaps`, a 1×1 convolution with bias.
pub(crate) fn end(head: Head, mut net: Net<'_>, x: NodeId) -> Result<Graph, ModelError> {
    refuse("dropout", net.options.dropout.is_some(), "a keypoint network, which has no classifier")?;
    let x = match head {
        Head::Deconvolution => deconvolutions(&mut net, x)?,
        Head::Bottleneck => bottlenecks(&mut net, x)?,
    };
    let heatmaps = Conv2d { bias: true, ..Conv2d::new(net.options.joints, [1, 1]) };
    let y = net.builder.push("heatmaps", Op::Conv(heatmaps), &[x])?;
    net.finish(y)
}

fn deconvolutions(net: &mut Net<'_>, mut x: NodeId) -> Result<NodeId, ModelError> {
    let out = make_divisible(DECONVOLUTION as f64 * net.options.head_width);
    for i in 0..3 {
        let name = format!("deconv.{i}");
        let conv = ConvTranspose2d { stride: [2, 2], padding: [1, 1], ..ConvTranspose2d::new(out, [4, 4]) };
        x = net.builder.push(&name, Op::ConvTranspose(conv), &[x])?;
        x = net.norm(&name, x, Some(Activation::Relu))?;
    }
    Ok(x)
}

fn bottlenecks(net: &mut Net<'_>, mut x: NodeId) -> Result<NodeId, ModelError> {
    let width = net.options.head_width;
    for (stage, blocks) in BOTTLENECKS.iter().enumerate() {
        x = net.builder.push(&format!("up.{stage}"), Op::Upsample { scale: 2, mode: UpsampleMode::Bilinear }, &[x])?;
        for (block, channels) in blocks.iter().enumerate() {
            let [expanded, out] = [channels.0, channels.1].map(|c| make_divisible(c as f64 * width));
            let residual = InvertedResidual { kernel: 3, expanded, out, stride: 1, se: false, act: Activation::Relu6 };
            x = net.inverted_residual(&format!("up.{stage}.{block}"), x, residual)?;
        }
    }
    Ok(x)
}
