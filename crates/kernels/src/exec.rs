//! What a kernel runs on.

use dyconv_simd::Isa;

use crate::threads::Pool;

/// The instruction set and the threads that a kernel runs on.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// The instructions.
    pub isa: Isa,
    /// The threads.
    pub pool: &'a Pool,
}
