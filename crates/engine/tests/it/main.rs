//! The engine against its oracle and against PyTorch's numbers, in one binary. `no_alloc` is a binary of its own, as its
//! allocator counts for the whole process.

mod bf16;
mod common;
mod every_variant;
mod golden;
mod limits;
mod networks;
mod pose_ops;
mod properties;
mod soak;
mod winograd;
