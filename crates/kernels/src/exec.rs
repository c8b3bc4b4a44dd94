//! Execution context of the kernels.

use dyconv_simd::Isa;

use crate::threads::Pool;

/// The instruction set and the threads that a kernel runs on.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// The thread pool.
    pub pool: &'a Pool,
}
