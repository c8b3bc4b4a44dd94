//! Scoring of a model on a data set.

pub(crate) mod classes;
pub(crate) mod keypoints;
