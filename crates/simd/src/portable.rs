//! Lanes in plain Rust: short loops over arrays, which the compiler vectorizes for the target.
//!
//! Product and sum are rounded separately: without a hardware instruction, `f32::mul_add` is a slow library call.

#![allow(unsafe_code, reason = "reads and writes through pointers, as the callers promise")]

use crate::lanes::{LANES, Lanes, Part};

/// Token of plain Rust, which every CPU supports.
#[derive(Debug, Clone, Copy)]
pub struct Portable(());

impl Portable {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

#[inline(always)]
fn each(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    for i in 0..LANES {
        out[i] = f(out[i], b[i]);
    }
    out
}

impl Lanes for Portable {
    const TILE_ROWS: [usize; 3] = [2, 0, 0];
    type V = [f32; LANES];

    #[inline(never)]
    fn outlined<P: Part<Self>>(self, part: P) {
        part.run(self);
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        *from
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::V {
        let mut out = [0.0; LANES];
        out[..from.len()].copy_from_slice(from);
        out
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        *to = v;
    }

    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f32]) {
        to.copy_from_slice(&v[..to.len()]);
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Self::V {
        // SAFETY: sixteen values by the caller's promise.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn read_partial(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: `n` values by the caller's promise.
        self.load_partial(unsafe { std::slice::from_raw_parts(from, n) })
    }

    #[inline(always)]
    unsafe fn write(self, v: Self::V, to: *mut f32) {
        // SAFETY: sixteen values by the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn write_partial(self, v: Self::V, to: *mut f32, n: usize) {
        for (i, x) in v.iter().enumerate().take(n) {
            // SAFETY: `n` values by the caller's promise.
            unsafe { to.add(i).write(*x) }
        }
    }

    #[inline(always)]
    fn unpack_bf16(self, words: Self::V) -> [Self::V; 2] {
        let words = words.map(f32::to_bits);
        [words.map(|w| f32::from_bits(w << 16)), words.map(|w| f32::from_bits(w & 0xffff_0000))]
    }

    #[inline(always)]
    unsafe fn read_bytes(self, from: *const i8) -> Self::V {
        // SAFETY: sixteen bytes by the caller's promise.
        unsafe { from.cast::<[i8; LANES]>().read() }.map(f32::from)
    }

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a > b || a.is_nan() { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn times_two_to(self, v: Self::V, n: Self::V) -> Self::V {
        each(v, n, |v, n| f32::from_bits(v.to_bits().wrapping_add((n as i32 as u32) << 23)))
    }
}
