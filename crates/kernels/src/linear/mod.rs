//! Matrix-vector products. Every weight is used once, so reading the matrix is the whole cost: rows are read in order,
//! a few at a time, and nothing is packed. A mixed matrix is mixed row by row, right before each row is used.

mod bf16;
mod f32;
mod rows;

pub use bf16::{linear_bf16, pack_linear_bf16};
pub use f32::{linear, mix_linear, pack_linear_bank};
