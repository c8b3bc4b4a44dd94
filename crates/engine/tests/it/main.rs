//! The engine, compared with its oracle and with PyTorch's results, in one binary. `no_alloc` is a separate binary,
//! since its allocator counts for the whole process.

mod bf16;
mod common;
mod every_variant;
mod golden;
mod import_ops;
mod limits;
mod networks;
mod pose_ops;
mod properties;
mod soak;
mod to_dynamic;
mod winograd;
