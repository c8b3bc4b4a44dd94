//! Convolution as products of packed panels, without writing the patches out.
//!
//! ```text
//! pad the input, unless no padding is asked for
//! for each group, for each panel of 16 output channels (or a pair of panels):
//!     mix the panel from the K panels of the bank, if it is a mixture         <- "mix into the panel"
//!     for each tile of output pixels:
//!         sums[pixel] = bias
//!         for each segment of the kernel, for each of its values c:
//!             sums[pixel] += input[start of pixel + start of segment + c] · panel[segment][c]
//!         store activation(sums)
//! ```
//!
//! 1. A *segment* is a run of kernel values that lie next to each other in the padded channels-last input: a whole kernel
//!    row of kw·C values, or one tap of C/groups where dilation or groups tear the row apart. A 1×1 convolution is one
//!    segment, hence a plain matrix product.
//! 2. All tiles of a layer have nearly the same number of pixels, so no tile is left with too few sums in flight.
//! 3. Each pixel's sum is formed in the same order whatever tile it is in.

#[cfg(test)]
pub(crate) mod tests;
mod tile;

use crate::geometry::{ConvGeometry, Epilogue, Kernels};
use crate::lanes::{Isa, LANES, Lanes, dispatch};
use crate::mix::mixed;
use tile::{Tile, run_tile};

/// A convolution of fixed sizes, any grouping, stride, padding and dilation.
#[derive(Debug, Clone)]
pub struct PanelConv {
    geometry: ConvGeometry,
    /// Input as the tiles see it, padded: `[H, W, C]`.
    padded: [usize; 3],
    /// Where each segment starts, in values from the pixel's first.
    segments: Vec<usize>,
    /// Values per segment.
    segment_len: usize,
}

impl PanelConv {
    /// A convolution of these sizes.
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    pub fn new(geometry: ConvGeometry) -> Self {
        let ConvGeometry { input: [h, w, c], kernel: [kh, kw], padding, dilation, groups, .. } = geometry;
        assert!(groups > 0 && c.is_multiple_of(groups), "groups divide the input channels");
        assert!(geometry.out_channels.is_multiple_of(groups), "groups divide the output channels");
        let padded = [h + 2 * padding[0], w + 2 * padding[1], c];
        let row = |ky: usize| ky * dilation[0] * padded[1] * c;
        let (segments, segment_len) = if groups == 1 && (dilation[1] == 1 || kw == 1) {
            ((0..kh).map(row).collect(), kw * c)
        } else {
            ((0..kh).flat_map(|ky| (0..kw).map(move |kx| row(ky) + kx * dilation[1] * c)).collect(), c / groups)
        };
        Self { geometry, padded, segments, segment_len }
    }

    /// Number of values of one packed panel of 16 output channels.
    fn panel_len(&self) -> usize {
        self.segments.len() * self.segment_len * LANES
    }

    /// Output channels of one group.
    fn group_outputs(&self) -> usize {
        self.geometry.out_channels / self.geometry.groups
    }

    /// Number of values of one packed kernel.
    pub fn packed_len(&self) -> usize {
        self.geometry.groups * self.group_outputs().div_ceil(LANES) * self.panel_len()
    }

    /// Packs a bank `[K, O, C/groups, kh, kw]` (a static kernel is K = 1) into panels
    /// `[groups, O/groups/16, K, kh, kw, C/groups, 16]`, padded with zeros.
    ///
    /// # Panics
    /// When the length is not K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32]) -> Vec<f32> {
        let g = &self.geometry;
        assert_eq!(weight.len(), kernels * g.weight_len(), "a bank [K, O, C/groups, kh, kw]");
        let (outputs, taps, inputs) = (self.group_outputs(), g.taps(), g.input[2] / g.groups);
        let panels = outputs.div_ceil(LANES);
        let mut packed = vec![0.0; kernels * self.packed_len()];
        for (k, kernel) in weight.chunks_exact(g.weight_len()).enumerate() {
            for (o, channel) in kernel.chunks_exact(inputs * taps).enumerate() {
                let panel = o / outputs * panels + o % outputs / LANES;
                let out = &mut packed[(panel * kernels + k) * self.panel_len()..][..self.panel_len()];
                for (i, w) in channel.iter().enumerate() {
                    let (ci, tap) = (i / taps, i % taps);
                    out[(tap * inputs + ci) * LANES + o % outputs % LANES] = *w;
                }
            }
        }
        packed
    }

    fn pads(&self) -> bool {
        self.geometry.padding != [0, 0]
    }

    fn padded_len(&self) -> usize {
        if self.pads() { self.padded.iter().product() } else { 0 }
    }

    /// Values of scratch that [`run`](Self::run) needs: the padded input, and a mixed pair of panels.
    pub fn scratch_len(&self, mixes: bool) -> usize {
        self.padded_len() + if mixes { 2 * self.panel_len() } else { 0 }
    }

    /// Convolves `x` `[H, W, C]` into `y` `[H', W', O]`; `kernels` as [`pack`](Self::pack) makes them.
    ///
    /// # Panics
    /// When a length does not fit.
    pub fn run(
        &self,
        isa: Isa,
        kernels: Kernels<'_>,
        epilogue: Epilogue<'_>,
        x: &[f32],
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        let g = &self.geometry;
        assert_eq!(x.len(), g.input_len(), "input of the convolution");
        assert_eq!(y.len(), g.output_len(), "output of the convolution");
        assert_eq!(kernels.packed_len(), kernels.count() * self.packed_len(), "packed kernels");
        assert!(epilogue.bias.is_empty() || epilogue.bias.len() == g.out_channels, "one bias per channel or none");
        let needed = self.scratch_len(matches!(kernels, Kernels::Mixed { .. }));
        let (padded, panels) = scratch[..needed].split_at_mut(self.padded_len());
        let x = if self.pads() {
            self.pad(x, padded);
            &*padded
        } else {
            x
        };
        let conv = self;
        dispatch!(isa, body(conv: &PanelConv, kernels: Kernels<'_>, epilogue: Epilogue<'_>, x: &[f32], panels: &mut [f32], y: &mut [f32]));
    }

    /// Copies the map into the middle of a map of zeros.
    fn pad(&self, x: &[f32], to: &mut [f32]) {
        let [_, w, c] = self.geometry.input;
        let [top, left] = self.geometry.padding;
        let row = self.padded[1] * c;
        let (above, rest) = to.split_at_mut(top * row);
        let (middle, below) = rest.split_at_mut(self.geometry.input[0] * row);
        above.fill(0.0);
        below.fill(0.0);
        for (to, from) in middle.chunks_exact_mut(row).zip(x.chunks_exact(w * c)) {
            to[..left * c].fill(0.0);
            to[left * c..][..w * c].copy_from_slice(from);
            to[(left + w) * c..].fill(0.0);
        }
    }
}

#[inline(always)]
fn body<L: Lanes>(
    l: L,
    conv: &PanelConv,
    kernels: Kernels<'_>,
    epilogue: Epilogue<'_>,
    x: &[f32],
    scratch: &mut [f32],
    y: &mut [f32],
) {
    let (outputs, len) = (conv.group_outputs(), conv.panel_len());
    let panels = outputs.div_ceil(LANES);
    for group in 0..conv.geometry.groups {
        let mut panel = 0;
        while panel < panels {
            let width = if L::PAIRS && panel + 1 < panels { 2 } else { 1 };
            let first = group * panels + panel;
            let weights = match kernels {
                Kernels::Fixed(packed) => &packed[first * len..][..width * len],
                Kernels::Mixed { bank, coefficients } => {
                    let bank_len = coefficients.len() * len;
                    for (i, to) in scratch.chunks_exact_mut(len).take(width).enumerate() {
                        mixed(l, coefficients, &bank[(first + i) * bank_len..][..bank_len], to);
                    }
                    &scratch[..width * len]
                }
            };
            let channels = group * outputs + panel * LANES..group * outputs + outputs.min((panel + width) * LANES);
            let work = Work { conv, x, group, channels, epilogue };
            if width == 2 {
                work.panels::<L, 2>(l, weights, y);
            } else {
                work.panels::<L, 1>(l, weights, y);
            }
            panel += width;
        }
    }
}

/// What all tiles of one panel, or a pair, share.
struct Work<'a> {
    conv: &'a PanelConv,
    /// The padded input.
    x: &'a [f32],
    group: usize,
    /// Output channels of the panels.
    channels: std::ops::Range<usize>,
    epilogue: Epilogue<'a>,
}

impl Work<'_> {
    /// Convolves N neighbouring panels `[N, segments, segment_len, 16]`.
    #[inline(always)]
    fn panels<L: Lanes, const N: usize>(&self, l: L, weights: &[f32], y: &mut [f32]) {
        let (conv, g) = (self.conv, &self.conv.geometry);
        let (o, [_, ow, _]) = (g.out_channels, g.output());
        let mut bias = [l.splat(0.0); N];
        if !self.epilogue.bias.is_empty() {
            for (v, from) in bias.iter_mut().zip(self.epilogue.bias[self.channels.clone()].chunks(LANES)) {
                *v = l.load_partial(from);
            }
        }
        let (first, rest) = weights.as_chunks().0.split_at(conv.panel_len() / LANES);
        let tile = Tile {
            x: self.x,
            segments: &conv.segments,
            segment_len: conv.segment_len,
            panels: std::array::from_fn(|i| if i == 0 { first } else { rest }),
            bias,
            activation: self.epilogue.activation,
            out_step: o,
            channels: self.channels.len(),
        };
        // Steps from one pixel's first value to that of its right neighbour, and from one row of pixels to the next.
        let step = g.stride[1] * g.input[2];
        let row_step = g.stride[0] * conv.padded[1] * g.input[2];
        let mut row_start = self.group * (g.input[2] / g.groups);
        let mut ox = 0;
        let pixels = y.len() / o;
        let tiles = pixels.div_ceil(L::TILE_ROWS);
        let mut done = 0;
        for i in 0..tiles {
            let rows = pixels / tiles + usize::from(i < pixels % tiles);
            let mut starts = [0; tile::MAX_ROWS];
            for start in &mut starts[..rows] {
                *start = row_start + ox * step;
                ox += 1;
                if ox == ow {
                    (ox, row_start) = (0, row_start + row_step);
                }
            }
            run_tile(l, rows, &tile, &starts, &mut y[done * o + self.channels.start..]);
            done += rows;
        }
    }
}
