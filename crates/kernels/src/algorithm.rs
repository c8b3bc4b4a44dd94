//! Which kernel computes a convolution, chosen once per layer.

use dyconv_simd::{Isa, LANES};

use crate::depthwise::DepthwiseConv;
use crate::geometry::ConvGeometry;
use crate::winograd::WinogradConv;
use crate::winograd::shape::{POINTS, SIDE, SMALL_TILES, TAPS};

/// Approximate number of bytes of weights that arrive from memory during one vector multiply-add.
const BYTES_PER_STEP: usize = 4;
/// Cost of transforming sixteen input or output channels of a tile, in vector multiply-adds.
const TILE_COST: usize = 160;
/// Cost of transforming the kernels between one input channel and sixteen output channels, in vector multiply-adds.
const KERNEL_COST: usize = 100;
/// Products per input value above which it pays to round a feature map with an odd number of channels to bf16.
const PRODUCTS_REPAY_ROUNDING: usize = 256;

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvAlgorithm {
    /// [`DepthwiseConv`], summed tap by tap.
    Depthwise,
    /// [`WinogradConv`], in f32.
    Winograd,
    /// [`PanelConv`](crate::PanelConv), an implicit matrix product, in f32.
    Panel,
    /// The same in bf16: [`PanelConv::rounding`](crate::PanelConv::rounding).
    PanelBf16,
}

/// What a layer requires of its convolution, besides the sizes.
#[derive(Debug, Clone, Copy)]
pub struct ConvDemand {
    /// Bytes of all stored weights; of all K kernels if they are mixed.
    pub weight_bytes: usize,
    /// Whether kernels are mixed for each sample.
    pub mixes: bool,
    /// Whether there is a factor per input channel.
    pub scales_input: bool,
    /// Whether products may be computed in bf16.
    pub bf16: bool,
}

impl ConvAlgorithm {
    /// The algorithm that is estimated to be the fastest.
    ///
    /// - Groups of one channel use the depthwise kernel.
    /// - Winograd is a candidate for 3×3 taps at stride one. It is chosen if its products and transforms, or the time
    ///   to read its weights if that is longer, cost fewer vector multiply-adds than the direct convolution. If bf16 is
    ///   allowed, Winograd takes only mixed kernels: transforming them costs less than rounding them, while fixed
    ///   kernels take half the memory in bf16.
    /// - Panels use bf16 only if that repays rounding the feature map.
    pub fn choose(g: &ConvGeometry, isa: Isa, demand: ConvDemand) -> Self {
        let stays_f32 = !demand.bf16 || demand.mixes;
        if g.groups > 1 && DepthwiseConv::supports(g) {
            Self::Depthwise
        } else if !demand.scales_input && stays_f32 && winograd_pays(g, isa, demand.weight_bytes) {
            Self::Winograd
        } else if demand.bf16 && rounding_pays(g) {
            Self::PanelBf16
        } else {
            Self::Panel
        }
    }
}

/// Whether Winograd is likely to be faster than panels if `weight_bytes` bytes of weights must be read.
///
/// Costs are counted in vector multiply-adds. If reading the weights takes longer than the direct convolution computes,
/// Winograd cannot win.
fn winograd_pays(g: &ConvGeometry, isa: Isa, weight_bytes: usize) -> bool {
    if !WinogradConv::supports(g) {
        return false;
    }
    let [oh, ow, o] = g.output();
    let (c, tiles) = (g.input[2], oh.div_ceil(SIDE) * ow.div_ceil(SIDE));
    // The kernels of small maps are transformed in registers, which takes many registers.
    if tiles <= SMALL_TILES && isa.tile_rows()[1] == 0 {
        return false;
    }
    let (inputs, outputs) = (c.div_ceil(LANES), o.div_ceil(LANES));
    let direct = oh * ow * TAPS * c * outputs;
    let products = tiles * POINTS * c * outputs;
    let transforms = TILE_COST * tiles * (inputs + outputs) + KERNEL_COST * c * outputs;
    (products + transforms).max(weight_bytes / BYTES_PER_STEP) < direct
}

/// Whether panels are faster in bf16. An odd number of channels is rounded pixel by pixel, which pays only with many
/// products per value: 36 and 72 (the stems of MobileNets) are too few, 784 (the stem of ResNet) is enough.
fn rounding_pays(g: &ConvGeometry) -> bool {
    let [h, w, c] = g.input;
    let products = g.output_len() * g.taps() / (h * w);
    g.groups == 1 && (c.is_multiple_of(2) || products >= PRODUCTS_REPAY_ROUNDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(side: usize, [c, o]: [usize; 2]) -> ConvGeometry {
        let (kernel, stride, padding, dilation) = ([3, 3], [1, 1], [1, 1], [1, 1]);
        let input = [side, side, c];
        ConvGeometry { input, out_channels: o, kernel, stride, padding, end_padding: padding, dilation, groups: 1 }
    }

    /// The choice for the layers of ResNet-18, with a static kernel and with banks of four.
    #[test]
    fn winograd_pays_where_arithmetic_is_the_limit() {
        let isa = Isa::detect();
        let wide = isa.tile_rows()[1] > 0;
        for (side, c) in [(56, 64), (28, 128), (14, 256), (7, 512)] {
            let g = geometry(side, [c; 2]);
            let pays = |bytes| winograd_pays(&g, isa, bytes * g.weight_len());
            assert_eq!([pays(4), pays(4 * 2), pays(4 * 4)], [wide || side > 7, wide || side > 7, side > 7], "{side}");
        }
        let g = geometry(56, [3, 64]);
        assert!(!winograd_pays(&ConvGeometry { stride: [2, 2], ..g }, isa, 0));
        assert!(!winograd_pays(&ConvGeometry { padding: [0, 0], end_padding: [0, 0], ..geometry(3, [1, 1]) }, isa, 0));
    }

    #[test]
    fn what_a_layer_needs_excludes_algorithms() {
        let isa = Isa::detect();
        let choose = |g, [mixes, scales_input, bf16]: [bool; 3]| {
            ConvAlgorithm::choose(&g, isa, ConvDemand { weight_bytes: 0, mixes, scales_input, bf16 })
        };
        let g = geometry(56, [64, 64]);
        assert_eq!(choose(g, [false, false, false]), ConvAlgorithm::Winograd);
        assert_eq!(choose(g, [true, false, true]), ConvAlgorithm::Winograd, "mixed kernels are not rounded");
        assert_eq!(choose(g, [false, false, true]), ConvAlgorithm::PanelBf16);
        assert_eq!(choose(g, [true, true, false]), ConvAlgorithm::Panel, "Winograd has no input factors");
        assert_eq!(choose(ConvGeometry { groups: 64, ..g }, [true, false, true]), ConvAlgorithm::Depthwise);
        // The stem of MobileNet.
        let stem = ConvGeometry { stride: [2, 2], ..geometry(224, [3, 32]) };
        assert_eq!(choose(stem, [false, false, true]), ConvAlgorithm::Panel);
    }
}
