//! Which algorithm computes a convolution over a batch.

use crate::geometry::BatchConv;
use crate::winograd;

/// How a convolution over a batch is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvAlgorithm {
    /// Tap by tap, where each channel has its own kernel.
    Depthwise,
    /// Mix the kernel of a sample, then convolve.
    PerSample,
    /// Convolve with all K kernels, then mix; a static kernel is K = 1.
    PerBank,
    /// The same on the points of Winograd's convolution: for 3×3 taps at stride one.
    Winograd,
}

/// Multiplications that cost as much as mixing one weight: K loads from the second-level cache, packing, and in the
/// backward pass K more loads and K updates.
const MIXING: usize = 36;

/// Samples from which on a bank meets enough pixels at once.
const MIN_BATCH_PER_BANK: usize = 4;

impl ConvAlgorithm {
    /// For a static kernel: Winograd where it needs fewer products for each weight and sample than there are output pixels.
    pub fn of_static(c: &BatchConv) -> Self {
        if c.is_depthwise() {
            Self::Depthwise
        } else if winograd::products(c).is_some_and(|products| products < c.pixels()) {
            Self::Winograd
        } else {
            Self::PerBank
        }
    }

    /// For a mixture of `kernels` kernels. What is weighed are the products for each weight and sample: K for each pixel with
    /// whole banks, K for each of Winograd's points (and its transforms), or one for each pixel and the cost of mixing.
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
            dilation: [1; 2],
            groups: 1,
        };
        let small = c(64, 2, 1);
        assert_eq!(ConvAlgorithm::of_static(&c(64, 7, 1)), ConvAlgorithm::PerBank);
        assert_eq!(ConvAlgorithm::of_mixture(&c(64, 7, 1), 4), ConvAlgorithm::PerSample);
        assert_eq!(ConvAlgorithm::of_mixture(&small, 4), ConvAlgorithm::PerBank);
        assert_eq!(ConvAlgorithm::of_mixture(&BatchConv { batch: 2, ..small }, 4), ConvAlgorithm::PerSample);
        // 80 products for each weight, where the definition has 196.
        assert_eq!(ConvAlgorithm::of_static(&c(64, 14, 3)), ConvAlgorithm::Winograd);
        assert_eq!(ConvAlgorithm::of_mixture(&c(64, 14, 3), 2), ConvAlgorithm::Winograd);
        assert_eq!(ConvAlgorithm::of_mixture(&c(64, 14, 3), 4), ConvAlgorithm::PerSample);
        assert_eq!(ConvAlgorithm::of_static(&c(8, 14, 3)), ConvAlgorithm::PerBank, "too narrow for Winograd");
        let depthwise = BatchConv { groups: 64, ..c(64, 14, 3) };
        assert_eq!(ConvAlgorithm::of_static(&depthwise), ConvAlgorithm::Depthwise);
        assert_eq!(ConvAlgorithm::of_mixture(&depthwise, 4), ConvAlgorithm::Depthwise);
    }
}
