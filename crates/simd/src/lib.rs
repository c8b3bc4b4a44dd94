//! Sixteen f32 lanes, the instruction sets that implement them, and suitably aligned memory.
//!
//! This crate is an implementation detail of `dyconv-kernels` and `dyconv-train-kernels`. Other crates should use only
//! [`Isa`], [`Buffer`], [`keep_freed_memory`] and [`advise_huge_pages`], which those crates re-export; everything else
//! may change in any version.
//!
//! A kernel is written once, generic over [`Lanes`], as an `#[inline(always)]` body. [`dispatch!`] wraps that body into
//! one function per instruction set. Bodies must not use closures on lanes: a closure is compiled for the baseline CPU
//! and would be called instead of inlined. For the same reason every helper that a body calls is `#[inline(always)]`.
//! [`dispatch_bf16!`] does the same for bodies that multiply bf16. The tokens (`Portable`, `Neon`, `Avx2`, `Avx512`)
//! have private fields: holding one proves that this CPU supports the instruction set, which is all that the unsafe
//! calls below rely on.

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
#[cfg_attr(dyconv_no_avx512, allow(dead_code, reason = "nothing chooses AVX-512"))]
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
