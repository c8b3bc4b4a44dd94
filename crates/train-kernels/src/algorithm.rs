//! Choice of the algorithm that computes a convolution over a batch.

use crate::geometry::BatchConv;
use crate::winograd;

/// How a convolution over a batch is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvAlgorithm {
    /// Tap by tap, if each channel has its own kernel.
    Depthwise,
    /// Mix the kernel of each sample, then convolve.
    PerSample,
    /// Convolve with all K kernels, then mix; a static kernel is K = 1.
    PerBank,
    /// As [`PerBank`](Self::PerBank), but in the Winograd domain: for 3×3 taps at stride one.
    Winograd,
}

/// Number of multiplications that cost as much as mixing one weight: K loads from the L2 cache, packing, and in the
/// backward pass K more loads and K updates.
const MIXING: usize = 36;

/// Minimum number of samples for which one pass over a bank covers enough pixels.
const MIN_BATCH_PER_BANK: usize = 4;

impl ConvAlgorithm {
    /// The algorithm for a static kernel: Winograd if it needs fewer products per weight and sample than there are
    /// output pixels.
    pub fn of_static(c: &BatchConv) -> Self {
        if c.is_depthwise() {
            Self::Depthwise
        } else if winograd::products(c).is_some_and(|products| products < c.pixels()) {
            Self::Winograd
        } else {
            Self::PerBank
        }
    }

    /// The algorithm for a mixture of `kernels` kernels. Compares the products per weight and sample: with whole banks,
    /// K for each pixel; with Winograd, K for each point plus the transforms; per sample, one for each pixel plus the
    /// cost of mixing.
    pub fn of_mixture(c: &BatchConv, kernels: usize) -> Self {
        if c.is_depthwise() {
            return Self::Depthwise;
        }
        let (per_bank, per_sample) = (kernels * c.pixels(), c.pixels() + MIXING);
        let (how, direct) = match per_bank < per_sample && c.batch >= MIN_BATCH_PER_BANK {
            true => (Self::PerBank, per_bank),
            false => (Self::PerSample, per_sample),
        };
        match winograd::products(c) {
            Some(products) if kernels * products < direct => Self::Winograd,
            _ => how,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_follows_the_products() {
        let c = |channels: usize, side: usize, taps: usize| BatchConv {
            batch: 32,
            input: [channels, side, side],
            out_channels: channels,
            kernel: [taps; 2],
            stride: [1; 2],
            padding: [taps / 2; 2],
            end_padding: [taps / 2; 2],
            dilation: [1; 2],
            groups: 1,
        };
        let small = c(64, 2, 1);
        assert_eq!(ConvAlgorithm::of_static(&c(64, 7, 1)), ConvAlgorithm::PerBank);
        assert_eq!(ConvAlgorithm::of_mixture(&c(64, 7, 1), 4), ConvAlgorithm::PerSample);
        assert_eq!(ConvAlgorithm::of_mixture(&small, 4), ConvAlgorithm::PerBank);
        assert_eq!(ConvAlgorithm::of_mixture(&BatchConv { batch: 2, ..small }, 4), ConvAlgorithm::PerSample);
        // 80 products per weight, where the direct convolution has 196.
        assert_eq!(ConvAlgorithm::of_static(&c(64, 14, 3)), ConvAlgorithm::Winograd);
        assert_eq!(ConvAlgorithm::of_mixture(&c(64, 14, 3), 2), ConvAlgorithm::Winograd);
        assert_eq!(ConvAlgorithm::of_mixture(&c(64, 14, 3), 4), ConvAlgorithm::PerSample);
        assert_eq!(ConvAlgorithm::of_static(&c(8, 14, 3)), ConvAlgorithm::PerBank, "too narrow for Winograd");
        let depthwise = BatchConv { groups: 64, ..c(64, 14, 3) };
        assert_eq!(ConvAlgorithm::of_static(&depthwise), ConvAlgorithm::Depthwise);
        assert_eq!(ConvAlgorithm::of_mixture(&depthwise, 4), ConvAlgorithm::Depthwise);
    }
}
