//! The operations on graphics processors: Burn's own, in the compositions of [`super::generic`].

use burn::backend::Cube;

use super::TrainOps;

impl TrainOps for Cube {}
