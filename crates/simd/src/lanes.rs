//! Arithmetic on sixteen f32 values, independent of the registers that hold them.

#![allow(unsafe_code, reason = "declares reads and writes through pointers")]

use crate::bf16::bf16;

/// Number of f32 values that kernels process together, and width of a packed vector.
pub const LANES: usize = 16;

/// Arithmetic on [`LANES`] values.
pub trait Lanes: Copy {
    /// Pixels per tile of the panel convolution for panels one, two and three vectors wide, as the number of registers
    /// permits; zero if there are too few registers.
    const TILE_ROWS: [usize; 3];
    /// The lanes in registers.
    type V: Copy;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// Reads all lanes.
    fn load(self, from: &[f32; LANES]) -> Self::V;
    /// Reads at most [`LANES`] values; the other lanes are zero.
    fn load_partial(self, from: &[f32]) -> Self::V;
    /// Writes all lanes.
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    /// Writes the first `to.len()` lanes, at most [`LANES`].
    fn store_partial(self, v: Self::V, to: &mut [f32]);
    /// Reads sixteen values.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn read(self, from: *const f32) -> Self::V;
    /// Reads `n` values, at most [`LANES`]; the other lanes are zero.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn read_partial(self, from: *const f32, n: usize) -> Self::V;
    /// Writes all lanes.
    ///
    /// # Safety
    /// `to` is valid for writing sixteen values.
    unsafe fn write(self, v: Self::V, to: *mut f32);
    /// Writes the first `n` lanes, at most [`LANES`].
    ///
    /// # Safety
    /// `to` is valid for writing `n` values.
    unsafe fn write_partial(self, v: Self::V, to: *mut f32, n: usize);
    /// Reads sixteen bytes.
    ///
    /// # Safety
    /// `from` is valid for reading them.
    unsafe fn read_bytes(self, from: *const i8) -> Self::V;
    /// Prefetches a cache line that will be read soon; any address is allowed.
    fn prefetch(self, from: *const u8);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, with a single rounding if the CPU has FMA.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger one; `b` if either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one; NaN if either is NaN.
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` if either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// v · 2ⁿ, for normal v and whole numbers n for which the result is normal too. NaN of v stays NaN.
    fn times_two_to(self, v: Self::V, n: Self::V) -> Self::V;

    /// Unpacks lanes that hold words of two bf16: the low halves and the high halves, as f32.
    fn unpack_bf16(self, words: Self::V) -> [Self::V; 2];

    /// a · b + c, where the lanes of a and b hold words of two bf16 whose products are added: in f32, or as the CPU
    /// does it.
    #[inline(always)]
    fn dot_bf16(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let ([a0, a1], [b0, b1]) = (self.unpack_bf16(a), self.unpack_bf16(b));
        self.mul_add(a1, b1, self.mul_add(a0, b0, c))
    }

    /// Rounds the first 2·n lanes to bf16 and writes them as `n` words, at most eight; the first of each pair is in the
    /// low half.
    ///
    /// # Safety
    /// `to` is valid for writing `n` words.
    #[inline(always)]
    unsafe fn write_bf16(self, v: Self::V, to: *mut u32, n: usize) {
        let values = self.to_array(v);
        for (i, pair) in values.as_chunks::<2>().0.iter().enumerate().take(n) {
            // SAFETY: `n` words by the caller's promise.
            unsafe { to.add(i).write(bf16(pair[0]) | bf16(pair[1]) << 16) }
        }
    }

    /// Transposes: vector j of the result holds lane j of every vector.
    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut columns = [[0.0; LANES]; LANES];
        for (i, row) in rows.into_iter().enumerate() {
            for (column, v) in columns.iter_mut().zip(self.to_array(row)) {
                column[i] = v;
            }
        }
        let mut result = [self.splat(0.0); LANES];
        for (to, column) in result.iter_mut().zip(&columns) {
            *to = self.load(column);
        }
        result
    }

    /// Runs a part of a kernel as a separate function, compiled for the instruction set. Inlining many variants of a
    /// body into one function would make it take minutes to compile.
    fn outlined<P: Part<Self>>(self, part: P);

    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(v, &mut out);
        out
    }

    /// Sum of all lanes, pairwise.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut a = self.to_array(v);
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                a[i] += a[i + half];
            }
            half /= 2;
        }
        a[0]
    }
}

/// A part of a kernel: see [`Lanes::outlined`]. Implementations of `run` are `#[inline(always)]`.
pub trait Part<L: Lanes> {
    /// Runs the part.
    fn run(self, l: L);
}

/// Sixteen values of a slice, starting at `at`.
#[inline(always)]
pub fn lanes(from: &[f32], at: usize) -> &[f32; LANES] {
    from[at..at + LANES].try_into().expect("as many as lanes")
}

/// Like [`lanes`], but mutable.
#[inline(always)]
pub fn lanes_mut(from: &mut [f32], at: usize) -> &mut [f32; LANES] {
    (&mut from[at..at + LANES]).try_into().expect("as many as lanes")
}
