//! Lanes in AVX2 (two registers of eight values) and AVX-512 (one of sixteen).
//!
//! The methods are `#[inline(always)]`, so the intrinsics end up inside the `#[target_feature]` functions that
//! [`dispatch!`](crate::dispatch!) generates. Each `unsafe` relies on the token (the CPU has the instructions) and, if it accesses
//! memory, on a reference or a mask that covers exactly the lanes accessed.
#![allow(unsafe_code, reason = "intrinsics: the tokens prove the CPU has them")]

use std::arch::x86_64::*;

use crate::lanes::{LANES, Lanes, Part};

/// Proof that this CPU has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// Proof that this CPU has AVX-512F, and, if BF16, also AVX512-BF16.
#[derive(Debug, Clone, Copy)]
pub struct Avx512<const BF16: bool = false>(());

impl<const BF16: bool> Avx512<BF16> {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && (!BF16 || is_x86_feature_detected!("avx512bf16"));
        found.then_some(Self(()))
    }

    /// Weakens the proof to AVX-512F.
    #[inline(always)]
    pub fn without_bf16(self) -> Avx512<false> {
        Avx512(())
    }
}

/// All ones, then zeros: sixteen values from `LANES - n` on are a mask of the first `n` lanes.
static MASKS: [i32; 2 * LANES] = {
    let mut masks = [0; 2 * LANES];
    let mut i = 0;
    while i < LANES {
        masks[i] = -1;
        i += 1;
    }
    masks
};

impl Lanes for Avx2 {
    const TILE_ROWS: [usize; 3] = [6, 0, 0];
    type V = (__m256, __m256);

    #[inline(always)]
    fn outlined<P: Part<Self>>(self, part: P) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn run<P: Part<Avx2>>(l: Avx2, part: P) {
            part.run(l);
        }
        // SAFETY: the token proves AVX2 and FMA.
        unsafe { run(self, part) }
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let (mut left, mut right) = (rows.map(|v| v.0), rows.map(|v| v.1));
        // SAFETY: the token proves AVX.
        unsafe {
            for half in [&mut left, &mut right] {
                let (above, below) = half.split_at_mut(LANES / 2);
                transpose_eight(above.try_into().expect("eight rows"));
                transpose_eight(below.try_into().expect("eight rows"));
            }
        }
        std::array::from_fn(|i| if i < 8 { (left[i], left[i + 8]) } else { (right[i - 8], right[i]) })
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves AVX.
        let v = unsafe { _mm256_set1_ps(x) };
        (v, v)
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        let p = from.as_ptr();
        // SAFETY: the token proves AVX; the array holds the sixteen values read.
        unsafe { (_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::V {
        // SAFETY: the slice has the values.
        unsafe { self.read_partial(from.as_ptr(), from.len()) }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        let p = to.as_mut_ptr();
        // SAFETY: the token proves AVX; the array holds the sixteen values written.
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }

    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f32]) {
        // SAFETY: the slice has room for the values.
        unsafe { self.write_partial(v, to.as_mut_ptr(), to.len()) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Self::V {
        // SAFETY: the token proves AVX; sixteen values by the caller's promise.
        unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn read_partial(self, from: *const f32, n: usize) -> Self::V {
        assert!(n <= LANES);
        // SAFETY: the token proves AVX; the masks read `n` values, which the caller promises. Sixteen values from `LANES - n`
        // on lie inside the table.
        unsafe {
            if n == LANES {
                return self.read(from);
            }
            let masks = MASKS.as_ptr().add(LANES - n).cast::<__m256i>();
            (
                _mm256_maskload_ps(from, _mm256_loadu_si256(masks)),
                _mm256_maskload_ps(from.wrapping_add(8), _mm256_loadu_si256(masks.add(1))),
            )
        }
    }

    #[inline(always)]
    unsafe fn write(self, v: Self::V, to: *mut f32) {
        // SAFETY: the token proves AVX; sixteen values by the caller's promise.
        unsafe {
            _mm256_storeu_ps(to, v.0);
            _mm256_storeu_ps(to.add(8), v.1);
        }
    }

    #[inline(always)]
    unsafe fn write_partial(self, v: Self::V, to: *mut f32, n: usize) {
        assert!(n <= LANES);
        // Pieces of eight, four, two values and one are faster than a masked write on some CPUs.
        // SAFETY: the token proves AVX; the pieces are `n` values together, which the caller promises.
        unsafe {
            if n == LANES {
                return self.write(v, to);
            }
            let (mut rest, mut to) = (v.0, to);
            if n >= 8 {
                _mm256_storeu_ps(to, v.0);
                (rest, to) = (v.1, to.wrapping_add(8));
            }
            let mut four = _mm256_castps256_ps128(rest);
            if n & 4 != 0 {
                _mm_storeu_ps(to, four);
                (four, to) = (_mm256_extractf128_ps::<1>(rest), to.wrapping_add(4));
            }
            if n & 2 != 0 {
                _mm_storel_pd(to.cast(), _mm_castps_pd(four));
                (four, to) = (_mm_movehl_ps(four, four), to.wrapping_add(2));
            }
            if n & 1 != 0 {
                _mm_store_ss(to, four);
            }
        }
    }

    #[inline(always)]
    fn unpack_bf16(self, words: Self::V) -> [Self::V; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let (a, b) = (_mm256_castps_si256(words.0), _mm256_castps_si256(words.1));
            let high = _mm256_set1_epi32(0xffff_0000u32 as i32);
            [
                (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(a)), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b))),
                (_mm256_castsi256_ps(_mm256_and_si256(a, high)), _mm256_castsi256_ps(_mm256_and_si256(b, high))),
            ]
        }
    }

    #[inline(always)]
    unsafe fn read_bytes(self, from: *const i8) -> Self::V {
        // SAFETY: the token proves AVX2; sixteen bytes by the caller's promise.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            let (low, high) = (_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes)));
            (_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        // SAFETY: a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX.
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX.
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves FMA.
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX.
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V {
        let m = self.max(a, b);
        // SAFETY: the token proves AVX.
        unsafe {
            (
                _mm256_blendv_ps(m.0, a.0, _mm256_cmp_ps::<_CMP_UNORD_Q>(a.0, a.0)),
                _mm256_blendv_ps(m.1, a.1, _mm256_cmp_ps::<_CMP_UNORD_Q>(a.1, a.1)),
            )
        }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX.
        unsafe { (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX.
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn times_two_to(self, v: Self::V, n: Self::V) -> Self::V {
        // SAFETY: the token proves AVX2.
        unsafe {
            let n0 = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n.0));
            let n1 = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n.1));
            (
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v.0), n0)),
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v.1), n1)),
            )
        }
    }
}

/// Transposes eight rows of eight values.
///
/// # Safety
/// The CPU has AVX.
#[inline(always)]
unsafe fn transpose_eight(r: &mut [__m256; 8]) {
    let mut t = *r;
    // SAFETY: the caller vouches for AVX.
    unsafe {
        for i in (0..8).step_by(2) {
            (t[i], t[i + 1]) = (_mm256_unpacklo_ps(r[i], r[i + 1]), _mm256_unpackhi_ps(r[i], r[i + 1]));
        }
        // Half h of vector 4·i + j: column 4·h + j of the rows 4·i to 4·i + 3.
        let mut u = t;
        for i in (0..8).step_by(4) {
            for j in 0..2 {
                u[i + 2 * j] = _mm256_shuffle_ps::<0x44>(t[i + j], t[i + j + 2]);
                u[i + 2 * j + 1] = _mm256_shuffle_ps::<0xee>(t[i + j], t[i + j + 2]);
            }
        }
        for j in 0..4 {
            r[j] = _mm256_permute2f128_ps::<0x20>(u[j], u[j + 4]);
            r[j + 4] = _mm256_permute2f128_ps::<0x31>(u[j], u[j + 4]);
        }
    }
}

/// A mask of the lanes below `n`, which the caller keeps at [`LANES`] or less.
#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    assert!(n <= LANES);
    ((1u32 << n) - 1) as __mmask16
}

impl<const BF16: bool> Lanes for Avx512<BF16> {
    const TILE_ROWS: [usize; 3] = [14, 14, 9];
    type V = __m512;

    #[inline(always)]
    fn outlined<P: Part<Self>>(self, part: P) {
        #[target_feature(enable = "avx512f")]
        #[inline(never)]
        fn run<const BF16: bool, P: Part<Avx512<BF16>>>(l: Avx512<BF16>, part: P) {
            part.run(l);
        }
        #[target_feature(enable = "avx512f,avx512bf16")]
        #[inline(never)]
        fn run_bf16<const BF16: bool, P: Part<Avx512<BF16>>>(l: Avx512<BF16>, part: P) {
            part.run(l);
        }
        // SAFETY: the token proves AVX-512F, and where BF16 is true AVX512-BF16.
        unsafe {
            if const { BF16 } {
                run_bf16(self, part);
            } else {
                run(self, part);
            }
        }
    }

    #[inline(always)]
    fn dot_bf16(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        if BF16 {
            // SAFETY: the token proves AVX512-BF16; the two kinds of lanes are bits of one size.
            return unsafe {
                _mm512_dpbf16_ps(
                    c,
                    std::mem::transmute::<__m512, __m512bh>(a),
                    std::mem::transmute::<__m512, __m512bh>(b),
                )
            };
        }
        let ([a0, a1], [b0, b1]) = (self.unpack_bf16(a), self.unpack_bf16(b));
        self.mul_add(a1, b1, self.mul_add(a0, b0, c))
    }

    #[inline(always)]
    unsafe fn write_bf16(self, v: Self::V, to: *mut u32, n: usize) {
        // SAFETY: the tokens prove AVX512-BF16 and AVX-512F; eight words or the mask's are `n`, which the caller promises.
        unsafe {
            let words = if BF16 {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))
            } else {
                // Rounds to nearest, ties to even. A NaN only loses its low half and stays quiet.
                let bits = _mm512_castps_si512(v);
                let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
                let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000));
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
            };
            if n == LANES / 2 {
                _mm256_storeu_si256(to.cast(), words);
            } else {
                _mm512_mask_storeu_epi32(to.cast(), mask(n) & 0xff, _mm512_castsi256_si512(words));
            }
        }
    }

    #[inline(always)]
    fn transpose(self, mut r: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut t = r;
        // SAFETY: the token proves AVX-512F.
        unsafe {
            for i in (0..LANES).step_by(2) {
                (t[i], t[i + 1]) = (_mm512_unpacklo_ps(r[i], r[i + 1]), _mm512_unpackhi_ps(r[i], r[i + 1]));
            }
            // Quarter q of vector 4·i + j: column 4·q + j of the rows 4·i to 4·i + 3.
            for i in (0..LANES).step_by(4) {
                for j in 0..2 {
                    let [a, b] = [t[i + j], t[i + j + 2]].map(|v| _mm512_castps_pd(v));
                    r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for j in 0..4 {
                let [a, b, c, d] = [r[j], r[j + 4], r[j + 8], r[j + 12]];
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)];
                let odd = [_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                t[j] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
                t[j + 4] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
                t[j + 8] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
                t[j + 12] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
            }
        }
        t
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        // SAFETY: the token proves AVX-512F; the array holds the sixteen values read.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::V {
        let lanes = mask(from.len());
        // SAFETY: the token proves AVX-512F; the mask reads no lane past the end of the slice.
        unsafe { _mm512_maskz_loadu_ps(lanes, from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        // SAFETY: the token proves AVX-512F; the array holds the sixteen values written.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f32]) {
        let lanes = mask(to.len());
        // SAFETY: the token proves AVX-512F; the mask writes no lane past the end of the slice.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), lanes, v) }
    }

    #[inline(always)]
    unsafe fn read(self, from: *const f32) -> Self::V {
        // SAFETY: the token proves AVX-512F; sixteen values by the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn read_partial(self, from: *const f32, n: usize) -> Self::V {
        // SAFETY: the token proves AVX-512F; the mask reads `n` values, which the caller promises.
        unsafe { _mm512_maskz_loadu_ps(mask(n), from) }
    }

    #[inline(always)]
    unsafe fn write(self, v: Self::V, to: *mut f32) {
        // SAFETY: the token proves AVX-512F; sixteen values by the caller's promise.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn write_partial(self, v: Self::V, to: *mut f32, n: usize) {
        // SAFETY: the token proves AVX-512F; the mask writes `n` values, which the caller promises.
        unsafe { _mm512_mask_storeu_ps(to, mask(n), v) }
    }

    #[inline(always)]
    fn unpack_bf16(self, words: Self::V) -> [Self::V; 2] {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let words = _mm512_castps_si512(words);
            let high = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000u32 as i32));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), _mm512_castsi512_ps(high)]
        }
    }

    #[inline(always)]
    unsafe fn read_bytes(self, from: *const i8) -> Self::V {
        // SAFETY: the token proves AVX-512F; sixteen bytes by the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        // SAFETY: a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_mask_mov_ps(self.max(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn times_two_to(self, v: Self::V, n: Self::V) -> Self::V {
        // SAFETY: the token proves AVX-512F.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_cvtps_epi32(n));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), exponent))
        }
    }
}
