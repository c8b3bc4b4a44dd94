//! Choice between the two implementations of the operations of a network.

use burn::tensor::Tensor;
use dyconv_graph::{Activation, UpsampleMode};

use crate::geometry::{ConvGeometry, TransposedGeometry};
use crate::{ops, reference};

/// The implementation of the operations of a network. The results agree up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operations {
    /// Ours, with our own gradients ([`ops`]).
    #[default]
    Custom,
    /// Burn's, with Burn's gradients: the reference for ours.
    Reference,
}

impl Operations {
    /// As [`ops::conv`].
    pub fn conv(self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, geometry: ConvGeometry) -> Tensor<4> {
        match self {
            Operations::Custom => ops::conv(x, weight, bias, geometry),
            Operations::Reference => reference::conv(x, weight, bias, geometry),
        }
    }

    /// As [`ops::mix_conv`].
    pub fn mix_conv(
        self,
        x: Tensor<4>,
        pi: Tensor<2>,
        bank: Tensor<5>,
        bias: Option<Tensor<2>>,
        geometry: ConvGeometry,
    ) -> Tensor<4> {
        match self {
            Operations::Custom => ops::mix_conv(x, pi, bank, bias, geometry),
            Operations::Reference => reference::mix_conv(x, pi, bank, bias, geometry),
        }
    }

    /// As [`ops::conv_transpose`].
    pub fn conv_transpose(
        self,
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        geometry: TransposedGeometry,
    ) -> Tensor<4> {
        match self {
            Operations::Custom => ops::conv_transpose(x, weight, bias, geometry),
            Operations::Reference => reference::conv_transpose(x, weight, bias, geometry),
        }
    }

    /// As [`ops::upsample`].
    pub fn upsample(self, x: Tensor<4>, scale: usize, mode: UpsampleMode) -> Tensor<4> {
        match self {
            Operations::Custom => ops::upsample(x, scale, mode),
            Operations::Reference => reference::upsample(x, scale, mode),
        }
    }

    /// As [`ops::global_avg_pool`].
    pub fn global_avg_pool(self, x: Tensor<4>) -> Tensor<2> {
        match self {
            Operations::Custom => ops::global_avg_pool(x),
            Operations::Reference => reference::global_avg_pool(x),
        }
    }

    /// Like [`global_avg_pool`](Self::global_avg_pool), if a reader of `x` depends on the means.
    pub(crate) fn pool_beside_reader(self, x: Tensor<4>) -> Tensor<2> {
        match self {
            Operations::Custom => ops::pool_beside_reader(x),
            Operations::Reference => reference::global_avg_pool(x),
        }
    }

    /// Batch norm with the statistics of the batch `x` `[N, C, H, W]` and the activation after it: the output, and the
    /// mean and biased variance of the batch, `[C]`, without gradients.
    pub(crate) fn norm_act(
        self,
        x: Tensor<4>,
        scale: Tensor<1>,
        shift: Tensor<1>,
        eps: f64,
        activation: Option<Activation>,
    ) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
        match self {
            Operations::Custom => ops::norm_act(x, scale, shift, eps, activation),
            Operations::Reference => reference::norm_act(x, scale, shift, eps, activation),
        }
    }
}
