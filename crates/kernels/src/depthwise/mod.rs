//! Depthwise convolution: every channel has its own small kernel.
//!
//! Channels lie in the lanes. Row by row, sixteen channels at a time, a strip of neighbouring outputs is summed tap by tap,
//! so that a tap's weights are read once per strip. Strips are short near the border, where some taps fall outside.

use std::ops::Range;

use crate::activation::activated;
use crate::geometry::{ConvGeometry, Epilogue, Kernels, taps_inside};
use crate::lanes::{Isa, LANES, Lanes, dispatch};
use crate::mix::mixed;

/// A depthwise convolution of fixed sizes: C = O = groups.
#[derive(Debug, Clone)]
pub struct DepthwiseConv {
    geometry: ConvGeometry,
}

impl DepthwiseConv {
    /// Whether these sizes are a depthwise convolution.
    pub fn supports(geometry: &ConvGeometry) -> bool {
        geometry.groups == geometry.input[2] && geometry.groups == geometry.out_channels
    }

    /// A depthwise convolution of these sizes.
    ///
    /// # Panics
    /// When they are not [supported](Self::supports).
    pub fn new(geometry: ConvGeometry) -> Self {
        assert!(Self::supports(&geometry), "as many groups as input and output channels");
        Self { geometry }
    }

    /// Number of values of one packed kernel.
    pub fn packed_len(&self) -> usize {
        self.geometry.out_channels.div_ceil(LANES) * self.geometry.taps() * LANES
    }

    /// Packs a bank `[K, C, 1, kh, kw]` (a static kernel is K = 1) into `[K, C/16, kh, kw, 16]`, padded with zeros.
    ///
    /// # Panics
    /// When the length is not K kernels.
    pub fn pack(&self, kernels: usize, weight: &[f32]) -> Vec<f32> {
        let taps = self.geometry.taps();
        assert_eq!(weight.len(), kernels * self.geometry.weight_len(), "a bank [K, C, 1, kh, kw]");
        let mut packed = vec![0.0; kernels * self.packed_len()];
        for (kernel, out) in
            weight.chunks_exact(self.geometry.weight_len()).zip(packed.chunks_exact_mut(self.packed_len()))
        {
            for (c, channel) in kernel.chunks_exact(taps).enumerate() {
                for (t, w) in channel.iter().enumerate() {
                    out[(c / LANES * taps + t) * LANES + c % LANES] = *w;
                }
            }
        }
        packed
    }

    /// Values of scratch that [`run`](Self::run) needs.
    pub fn scratch_len(&self, mixes: bool) -> usize {
        if mixes { self.packed_len() } else { 0 }
    }

    /// Convolves `x` `[H, W, C]` into `y` `[H', W', C]`.
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
        assert_eq!(x.len(), g.input_len(), "input of the depthwise convolution");
        assert_eq!(y.len(), g.output_len(), "output of the depthwise convolution");
        assert_eq!(kernels.packed_len(), kernels.count() * self.packed_len(), "packed kernels");
        assert!(epilogue.bias.is_empty() || epilogue.bias.len() == g.out_channels, "one bias per channel or none");
        let scratch = &mut scratch[..self.scratch_len(matches!(kernels, Kernels::Mixed { .. }))];
        dispatch!(isa, body(g: &ConvGeometry, kernels: Kernels<'_>, epilogue: Epilogue<'_>, x: &[f32], scratch: &mut [f32], y: &mut [f32]));
    }
}

#[inline(always)]
fn body<L: Lanes>(
    l: L,
    g: &ConvGeometry,
    kernels: Kernels<'_>,
    epilogue: Epilogue<'_>,
    x: &[f32],
    scratch: &mut [f32],
    y: &mut [f32],
) {
    let packed = match kernels {
        Kernels::Fixed(packed) => packed,
        Kernels::Mixed { bank, coefficients } => {
            mixed(l, coefficients, bank, scratch);
            scratch
        }
    };
    let ([h, w, c], [_, ow, _]) = (g.input, g.output());
    let first_inside = g.padding[1].div_ceil(g.stride[1]);
    let reach = g.dilation[1] * (g.kernel[1] - 1);
    let end_inside = (w + g.padding[1]).checked_sub(reach + 1).map_or(0, |last| last / g.stride[1] + 1).min(ow);
    for (oy, out) in y.chunks_exact_mut(ow * c).enumerate() {
        let rows = taps_inside(oy, g.stride[0], g.padding[0], g.dilation[0], g.kernel[0], h);
        for (i, weights) in packed.chunks_exact(g.taps() * LANES).enumerate() {
            let channel = i * LANES;
            let lanes = (c - channel).min(LANES);
            let bias = if epilogue.bias.is_empty() {
                l.splat(0.0)
            } else {
                l.load_partial(&epilogue.bias[channel..][..lanes])
            };
            let job = Job { g, x, weights: weights.as_chunks().0, bias, oy, rows: rows.clone(), channel };
            let mut ox = 0;
            while ox < ow {
                let inside = if ox < first_inside { 0 } else { end_inside.saturating_sub(ox) };
                let taps = taps_inside(ox, g.stride[1], g.padding[1], g.dilation[1], g.kernel[1], w);
                let pixels = &mut out[ox * c + channel..];
                let act = epilogue.activation;
                ox += match (inside, lanes == LANES) {
                    (8.., true) => put(l, job.strip::<L, 8, true>(l, ox, taps, LANES), act, pixels, c, LANES),
                    (4.., true) => put(l, job.strip::<L, 4, true>(l, ox, taps, LANES), act, pixels, c, LANES),
                    (_, true) => put(l, job.strip::<L, 1, true>(l, ox, taps, LANES), act, pixels, c, LANES),
                    (4.., false) => put(l, job.strip::<L, 4, false>(l, ox, taps, lanes), act, pixels, c, lanes),
                    (_, false) => put(l, job.strip::<L, 1, false>(l, ox, taps, lanes), act, pixels, c, lanes),
                };
            }
        }
    }
}

/// Activates and stores a strip; returns its length.
#[inline(always)]
fn put<L: Lanes, const N: usize>(
    l: L,
    sums: [L::V; N],
    activation: Option<crate::Activation>,
    pixels: &mut [f32],
    channels: usize,
    lanes: usize,
) -> usize {
    for (i, v) in sums.into_iter().enumerate() {
        l.store_partial(activated(l, activation, v), &mut pixels[i * channels..][..lanes]);
    }
    N
}

/// One row of outputs of sixteen channels.
struct Job<'a, V> {
    g: &'a ConvGeometry,
    x: &'a [f32],
    /// `[kh · kw]` taps of sixteen channels.
    weights: &'a [[f32; LANES]],
    bias: V,
    oy: usize,
    rows: Range<usize>,
    channel: usize,
}

impl<V: Copy> Job<'_, V> {
    /// Sums of N neighbouring outputs from `ox` on, which all see the same taps; `lanes` is [`LANES`] if FULL.
    #[inline(always)]
    fn strip<L: Lanes<V = V>, const N: usize, const FULL: bool>(
        &self,
        l: L,
        ox: usize,
        taps: Range<usize>,
        lanes: usize,
    ) -> [V; N] {
        let (g, [_, w, c]) = (self.g, self.g.input);
        let step = g.stride[1] * c;
        let mut sums = [self.bias; N];
        for ky in self.rows.clone() {
            let row = (self.oy * g.stride[0] + ky * g.dilation[0] - g.padding[0]) * w;
            for kx in taps.clone() {
                let column = ox * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                let from = &self.x[(row + column) * c + self.channel..];
                let weight = l.load(&self.weights[ky * g.kernel[1] + kx]);
                for (i, sum) in sums.iter_mut().enumerate() {
                    let v = if FULL {
                        l.load_partial(&from[i * step..][..LANES])
                    } else {
                        l.load_partial(&from[i * step..][..lanes])
                    };
                    *sum = l.mul_add(v, weight, *sum);
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{check_against_naive, geometry};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn agrees_with_naive_loops(g in geometry(), c in 1usize..40, kernels in 1usize..5) {
            let g = ConvGeometry { input: [g.input[0], g.input[1], c], out_channels: c, groups: c, ..g };
            let conv = DepthwiseConv::new(g);
            check_against_naive(&g, kernels, |w| conv.pack(kernels, w), |isa, kernels, epilogue, x, y| {
                let mut scratch = vec![f32::NAN; conv.scratch_len(true)];
                conv.run(isa, kernels, epilogue, x, &mut scratch, y);
            });
        }
    }
}
