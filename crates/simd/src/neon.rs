//! Lanes in NEON: four registers of four values.
//!
//! As in `x86.rs`, the methods are inlined into the `#[target_feature]` functions that [`dispatch!`](crate::dispatch!)
//! generates. Each `unsafe` relies on the token and, if it accesses memory, on a reference or the caller's promise.
#![allow(unsafe_code, reason = "intrinsics: the token proves the CPU has them")]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use crate::lanes::{LANES, Lanes, Part};

/// Proof that this CPU has NEON.
#[derive(Debug, Clone, Copy)]
pub struct Neon(());

impl Neon {
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// Applies an operation to each of the four registers of `a` and `b`.
macro_rules! each {
    ($a:expr, $b:expr, |$x:ident, $y:ident| $f:expr) => {{
        let (a, b) = ($a, $b);
        // SAFETY: the token proves NEON.
        unsafe {
            let ($x, $y) = (a[0], b[0]);
            let first = $f;
            let ($x, $y) = (a[1], b[1]);
            let second = $f;
            let ($x, $y) = (a[2], b[2]);
            let third = $f;
            let ($x, $y) = (a[3], b[3]);
            [first, second, third, $f]
        }
    }};
}

impl Lanes for Neon {
    // Of 32 registers, six rows take 24, a vector of the panel four, and a pixel one.
    const TILE_ROWS: [usize; 3] = [6, 0, 0];
    type V = [float32x4_t; 4];

    #[inline(always)]
    fn outlined<P: Part<Self>>(self, part: P) {
        #[target_feature(enable = "neon")]
        #[inline(never)]
        fn run<P: Part<Neon>>(l: Neon, part: P) {
            part.run(l);
        }
        // SAFETY: the token proves NEON.
        unsafe { run(self, part) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves NEON.
        [unsafe { vdupq_n_f32(x) }; 4]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        // SAFETY: the array holds the sixteen values.
        unsafe { self.read(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::V {
        let mut whole = [0.0; LANES];
        whole[..from.len()].copy_from_slice(from);
        self.load(&whole)
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        // SAFETY: the array has room for the sixteen values.
        unsafe { self.write(v, to.as_mut_ptr()) }
    }

    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f32]) {
        let whole = self.to_array(v);
        to.copy_from_slice(&whole[..to.len()]);
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Self::V {
        // SAFETY: the token proves NEON; sixteen values by the caller's promise.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    unsafe fn read_partial(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: `n` values by the caller's promise.
        self.load_partial(unsafe { std::slice::from_raw_parts(from, n) })
    }

    #[inline(always)]
    unsafe fn write(self, v: Self::V, to: *mut f32) {
        // SAFETY: the token proves NEON; room for sixteen values by the caller's promise.
        unsafe {
            vst1q_f32(to, v[0]);
            vst1q_f32(to.add(4), v[1]);
            vst1q_f32(to.add(8), v[2]);
            vst1q_f32(to.add(12), v[3]);
        }
    }

    #[inline(always)]
    unsafe fn write_partial(self, v: Self::V, to: *mut f32, n: usize) {
        let whole = self.to_array(v);
        // SAFETY: room for `n` values by the caller's promise, and the array has as many.
        unsafe { std::ptr::copy_nonoverlapping(whole[..n].as_ptr(), to, n) }
    }

    #[inline(always)]
    unsafe fn read_bytes(self, from: *const i8) -> Self::V {
        // SAFETY: the token proves NEON; sixteen bytes by the caller's promise.
        unsafe {
            let bytes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
            ]
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        // SAFETY: a prefetch reads nothing and faults nowhere.
        unsafe { asm!("prfm pldl2keep, [{}]", in(reg) from, options(nostack, readonly, preserves_flags)) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each!(a, b, |a, b| vaddq_f32(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each!(a, b, |a, b| vmulq_f32(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves NEON.
        unsafe {
            [
                vfmaq_f32(c[0], a[0], b[0]),
                vfmaq_f32(c[1], a[1], b[1]),
                vfmaq_f32(c[2], a[2], b[2]),
                vfmaq_f32(c[3], a[3], b[3]),
            ]
        }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each!(a, b, |a, b| vbslq_f32(vcgtq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V {
        each!(a, b, |a, b| vmaxq_f32(a, b))
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each!(a, b, |a, b| vbslq_f32(vcltq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn unpack_bf16(self, words: Self::V) -> [Self::V; 2] {
        // SAFETY: the token proves NEON.
        unsafe {
            let high = vdupq_n_u32(0xffff_0000);
            let bits = [
                vreinterpretq_u32_f32(words[0]),
                vreinterpretq_u32_f32(words[1]),
                vreinterpretq_u32_f32(words[2]),
                vreinterpretq_u32_f32(words[3]),
            ];
            [
                [
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits[0])),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits[1])),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits[2])),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits[3])),
                ],
                [
                    vreinterpretq_f32_u32(vandq_u32(bits[0], high)),
                    vreinterpretq_f32_u32(vandq_u32(bits[1], high)),
                    vreinterpretq_f32_u32(vandq_u32(bits[2], high)),
                    vreinterpretq_f32_u32(vandq_u32(bits[3], high)),
                ],
            ]
        }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each!(a, b, |a, b| vdivq_f32(a, b))
    }

    #[inline(always)]
    fn times_two_to(self, v: Self::V, n: Self::V) -> Self::V {
        each!(v, n, |v, n| {
            let exponent = vshlq_n_s32::<23>(vcvtq_s32_f32(n));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(v), exponent))
        })
    }
}
