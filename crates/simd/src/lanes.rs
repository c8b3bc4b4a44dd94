//! Arithmetic on sixteen f32 values, whatever registers hold them.

#![allow(unsafe_code, reason = "declares reads and writes through pointers")]

use crate::bf16::bf16;

/// Number of f32 values that kernels treat together, and the width of a packed panel.
pub const LANES: usize = 16;

/// Arithmetic on [`LANES`] values.
pub trait Lanes: Copy {
    /// Pixels per tile of the panel convolution one, two and three vectors wide, by the number of registers; zero where
    /// the registers do not suffice.
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
    /// Asks for a cache line that will be read soon; any address will do.
    fn prefetch(self, from: *const u8);
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, rounded once where the CPU can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` when either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; NaN when either is.
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` when either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;

    /// Lanes that hold words of two bf16 values: the low halves, and the high halves, as f32.
    fn unpack_bf16(self, words: Self::V) -> [Self::V; 2];

    /// a · b + c, the lanes of a and b holding words of two bf16 values whose products are added: in f32, or as the CPU does.
    #[inline(always)]
    fn dot_bf16(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let ([a0, a1], [b0, b1]) = (self.unpack_bf16(a), self.unpack_bf16(b));
        self.mul_add(a1, b1, self.mul_add(a0, b0, c))
    }

    /// Writes the first 2·n lanes, rounded to bf16, as `n` words of two, at most eight: the first of two in the low half.
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

    /// Vector j of the result holds lane j of every vector.
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

    /// Runs a part of a kernel as a function of its own, compiled for the instruction set. Variants of a body that are inlined
    /// side by side make functions that a compiler takes minutes for.
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
    /// Does the work.
    fn run(self, l: L);
}

/// Sixteen values of a slice, from `at` on.
#[inline(always)]
pub fn lanes(from: &[f32], at: usize) -> &[f32; LANES] {
    from[at..at + LANES].try_into().expect("as many as lanes")
}

/// As [`lanes`], to write to.
#[inline(always)]
pub fn lanes_mut(from: &mut [f32], at: usize) -> &mut [f32; LANES] {
    (&mut from[at..at + LANES]).try_into().expect("as many as lanes")
}
