//! Sixteen f32 lanes and the instruction sets that carry them; memory that suits them.
//!
//! This crate belongs to `dyconv-kernels` and `dyconv-train-kernels`. Of its items, others are meant to use [`Isa`], [`Buffer`],
//! [`keep_freed_memory`] and [`advise_huge_pages`] only, as those crates re-export them; all else may change with any version.
//!
//! A kernel is written once, generic over [`Lanes`], as an `#[inline(always)]` body. [`dispatch!`] wraps that body into one
//! function per instruction set. Bodies hold no closures around lanes: a closure is compiled for the plain CPU and would be
//! called, not inlined. For the same reason every helper that a body calls is `#[inline(always)]`. [`dispatch_bf16!`] does the
//! same for bodies that multiply bf16. The tokens (`Portable`, `Neon`, `Avx2`, `Avx512`) have private fields: to hold one is proof
//! that this CPU executes it, which is all that the unsafe calls below rely on.

mod bf16;
mod buffer;
mod dispatch;
mod huge_pages;
mod isa;
mod lanes;
mod malloc;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[doc(hidden)]
pub mod testing;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use bf16::{bf16, bf16_range, bf16_weight};
pub use buffer::{Buffer, Plain};
pub use huge_pages::advise_huge_pages;
pub use isa::Isa;
#[doc(hidden)]
pub use isa::Token;
pub use lanes::{LANES, Lanes, Part, lanes, lanes_mut};
pub use malloc::keep_freed_memory;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};
