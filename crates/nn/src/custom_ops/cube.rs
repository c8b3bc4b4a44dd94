//! The operations on the GPU: Burn's own, composed as in [`super::generic`].

use burn::backend::Cube;

use super::TrainOps;

impl TrainOps for Cube {}
