//! Layers and networks with their gradients, compared with PyTorch, Burn's own operations and finite differences, in
//! one binary.

mod common;
mod custom_ops;
mod every_variant;
mod import_ops;
mod layers;
mod pose_ops;
