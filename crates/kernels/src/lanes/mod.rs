//! Sixteen f32 lanes and the instruction sets that carry them.
//!
//! A kernel is written once, generic over [`Lanes`], as an `#[inline(always)]` body. [`dispatch!`] wraps that body into one
//! function per instruction set. Bodies hold no closures around lanes: a closure is compiled for the plain CPU and would be
//! called, not inlined. [`dispatch_bf16!`] does so for bodies that multiply bf16. The tokens (`Portable`, `Avx2`, `Avx512`) have private fields: to hold one is proof that
//! this CPU executes it, which is all that the unsafe calls below rely on.

#![allow(unsafe_code, reason = "declares reads and writes through pointers")]

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// Number of f32 values that kernels treat together, and the width of a packed panel.
pub const LANES: usize = 16;

/// Arithmetic on [`LANES`] values.
pub(crate) trait Lanes: Copy {
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
    /// The larger; `b` when either is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; not a number when either is not.
    fn maximum(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` when either is not a number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;

    /// Lanes that hold words of two bf16 values: the low halves, and the high halves, as f32.
    fn halves(self, words: Self::V) -> [Self::V; 2];

    /// a · b + c, the lanes of a and b holding words of two bf16 values whose products are added: in f32, or as the CPU does.
    #[inline(always)]
    fn dot_halves(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let ([a0, a1], [b0, b1]) = (self.halves(a), self.halves(b));
        self.mul_add(a1, b1, self.mul_add(a0, b0, c))
    }

    /// Writes the first 2·n lanes, rounded to bf16, as `n` words of two, at most eight: the first of two in the low half.
    ///
    /// # Safety
    /// `to` is valid for writing `n` words.
    #[inline(always)]
    unsafe fn write_rounded(self, v: Self::V, to: *mut u32, n: usize) {
        let values = self.to_array(v);
        for (i, pair) in values.as_chunks::<2>().0.iter().enumerate().take(n) {
            // SAFETY: `n` words by the caller's promise.
            unsafe { to.add(i).write(bf16(pair[0]) | bf16(pair[1]) << 16) }
        }
    }

    /// Vector j of the result holds lane j of every vector.
    #[inline(always)]
    #[cfg_attr(not(feature = "train"), allow(dead_code, reason = "only training transposes"))]
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

/// Sixteen values of a slice, from `at` on.
#[cfg(feature = "train")]
#[inline(always)]
pub(crate) fn lanes(from: &[f32], at: usize) -> &[f32; LANES] {
    from[at..at + LANES].try_into().expect("as many as lanes")
}

/// As [`lanes`], to write to.
#[cfg(feature = "train")]
#[inline(always)]
pub(crate) fn lanes_mut(from: &mut [f32], at: usize) -> &mut [f32; LANES] {
    (&mut from[at..at + LANES]).try_into().expect("as many as lanes")
}

/// The nearest bf16, ties to even, in the low half of a word; not a number stays so.
#[inline(always)]
pub(crate) fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

/// Largest finite bf16.
const BF16_MAX: f32 = f32::from_bits(0x7f7f_0000);

/// The nearest weight that stays finite as bf16.
#[inline(always)]
pub(crate) fn bf16_range(weight: f32) -> f32 {
    weight.clamp(-BF16_MAX, BF16_MAX)
}

/// The nearest finite bf16, as [`bf16`]: where that would round a large weight to infinity, the largest there is.
#[inline(always)]
pub(crate) fn bf16_weight(weight: f32) -> u32 {
    bf16(bf16_range(weight))
}

/// An instruction set that this CPU has. Chosen once, when a plan is built, and handed to every kernel.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, everywhere.
    Portable(Portable),
    /// NEON of 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX-512 with products of bf16; all else is as for AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512<true>),
}

impl Isa {
    /// All names, whatever the CPU.
    const NAMES: [&str; 5] = ["portable", "neon", "avx2", "avx512", "avx512bf16"];

    /// The fastest instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or_else(Self::portable)
    }

    /// The instruction set that the environment variable `DYCONV_ISA` names, or the fastest of this CPU.
    ///
    /// # Errors
    /// A sentence that says what there is instead of what was asked for.
    pub fn chosen() -> Result<Self, String> {
        Self::named(std::env::var_os("DYCONV_ISA").as_deref())
    }

    /// As [`chosen`](Self::chosen), for this value of the variable; none and an empty one are no choice.
    fn named(name: Option<&std::ffi::OsStr>) -> Result<Self, String> {
        match name {
            Some(name) if !name.is_empty() => Self::by_name(&name.to_string_lossy()),
            _ => Ok(Self::detect()),
        }
    }

    /// The instruction set of this name ([`name`](Self::name)).
    ///
    /// # Errors
    /// A sentence that says what there is instead.
    pub fn by_name(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = Self::available().iter().map(|isa| isa.name()).collect();
        let found = Self::available().into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| {
            let known = Self::NAMES.contains(&name);
            let reason = if known { "this CPU lacks it" } else { "there is no such instruction set" };
            let name: String = name.chars().take(40).flat_map(char::escape_debug).collect();
            format!("invalid value `{name}`: {reason}; possible values on this CPU: {}", names.join(", "))
        })
    }

    /// The fallback that every CPU has.
    pub fn portable() -> Self {
        Isa::Portable(Portable::new())
    }

    /// Every instruction set of this CPU, slowest first.
    pub fn available() -> Vec<Self> {
        let mut list = vec![Self::portable()];
        #[cfg(target_arch = "aarch64")]
        list.extend(Neon::detect().map(Isa::Neon));
        #[cfg(target_arch = "x86_64")]
        {
            list.extend(Avx2::detect().map(Isa::Avx2));
            list.extend(Avx512::<false>::detect().map(Isa::Avx512));
            list.extend(Avx512::<true>::detect().map(Isa::Avx512Bf16));
        }
        list
    }

    /// [`Lanes::TILE_ROWS`] of the instruction set.
    pub(crate) fn tile_rows(self) -> [usize; 3] {
        match self {
            Isa::Portable(_) => Portable::TILE_ROWS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => Neon::TILE_ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => Avx2::TILE_ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) | Isa::Avx512Bf16(_) => <Avx512>::TILE_ROWS,
        }
    }

    /// Whether bf16 is multiplied by an instruction made for it; otherwise it is widened to f32 first.
    pub fn multiplies_bf16(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16(_) => true,
            _ => false,
        }
    }

    /// `portable`, `neon`, `avx2`, `avx512` or `avx512bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable(_) => "portable",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16(_) => "avx512bf16",
        }
    }
}

/// Calls `body(token, arguments…)` compiled for the instruction set of `isa`.
macro_rules! dispatch {
    ($isa:expr, $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {{
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon")]
        #[allow(clippy::too_many_arguments)]
        fn neon(token: $crate::lanes::Neon, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        fn avx2(token: $crate::lanes::Avx2, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        #[allow(clippy::too_many_arguments)]
        fn avx512(token: $crate::lanes::Avx512, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        match $isa {
            $crate::lanes::Isa::Portable(token) => $body(token, $($arg),*),
            #[cfg(target_arch = "aarch64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: a `Neon` exists only where the CPU was seen to have NEON.
            $crate::lanes::Isa::Neon(token) => unsafe { neon(token, $($arg),*) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: an `Avx2` exists only where the CPU was seen to have avx2 and fma.
            $crate::lanes::Isa::Avx2(token) => unsafe { avx2(token, $($arg),*) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: an `Avx512` exists only where the CPU was seen to have avx512f.
            $crate::lanes::Isa::Avx512(token) => unsafe { avx512(token, $($arg),*) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: as above; the token is turned into one that proves less.
            $crate::lanes::Isa::Avx512Bf16(token) => unsafe { avx512(token.without_bf16(), $($arg),*) },
        }
    }};
}
pub(crate) use dispatch;

/// Like [`dispatch!`], for bodies that round to bf16 or multiply it: compiled once more, for its instructions.
macro_rules! dispatch_bf16 {
    ($isa:expr, $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bf16")]
        #[allow(clippy::too_many_arguments)]
        fn avx512bf16(token: $crate::lanes::Avx512<true>, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        match $isa {
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: an `Avx512<true>` exists only where the CPU was seen to have avx512f and avx512bf16.
            $crate::lanes::Isa::Avx512Bf16(token) => unsafe { avx512bf16(token, $($arg),*) },
            isa => $crate::lanes::dispatch!(isa, $body($($arg: $ty),*)),
        }
    }};
}
pub(crate) use dispatch_bf16;

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    fn check<L: Lanes>(l: L, name: &str) {
        let a: [f32; LANES] = std::array::from_fn(|i| i as f32 - 7.5);
        let b: [f32; LANES] = std::array::from_fn(|i| 3.0 - i as f32 * 0.5);
        let (va, vb) = (l.load(&a), l.load(&b));
        let each = |f: fn(f32, f32) -> f32| -> [f32; LANES] { std::array::from_fn(|i| f(a[i], b[i])) };
        assert_eq!(l.to_array(l.add(va, vb)), each(|a, b| a + b), "{name}");
        assert_eq!(l.to_array(l.mul(va, vb)), each(|a, b| a * b), "{name}");
        assert_eq!(l.to_array(l.max(va, vb)), each(f32::max), "{name}");
        assert_eq!(l.to_array(l.min(va, vb)), each(f32::min), "{name}");
        assert_eq!(l.to_array(l.mul_add(va, vb, l.splat(1.0))), each(|a, b| a * b + 1.0), "{name}");
        assert_eq!(l.sum(va), 0.0, "{name}");
        let nan = l.splat(f32::NAN);
        assert!(l.to_array(l.max(va, nan)).iter().chain(&l.to_array(l.min(va, nan))).all(|x| x.is_nan()), "{name}");
        assert_eq!(l.to_array(l.max(nan, va)), a, "{name}");
        for (a, b) in [(va, nan), (nan, va), (nan, nan)] {
            assert!(l.to_array(l.maximum(a, b)).iter().all(|x| x.is_nan()), "{name}");
        }
        assert_eq!(l.to_array(l.maximum(va, vb)), each(f32::max), "{name}");
        let rows: [_; LANES] = std::array::from_fn(|i| std::array::from_fn(|j| (i * LANES + j) as f32));
        let mut vectors = [l.splat(0.0); LANES];
        for (v, row) in vectors.iter_mut().zip(&rows) {
            *v = l.load(row);
        }
        for (j, column) in l.transpose(vectors).into_iter().enumerate() {
            assert_eq!(l.to_array(column), std::array::from_fn(|i| rows[i][j]), "{name} column {j}");
        }
        for n in 0..=LANES {
            let part = l.to_array(l.load_partial(&a[..n]));
            assert!((0..LANES).all(|i| part[i] == if i < n { a[i] } else { 0.0 }), "{name} load {n}");
            let mut out = [9.0; LANES + 1];
            l.store_partial(va, &mut out[..n]);
            assert!((0..=LANES).all(|i| out[i] == if i < n { a[i] } else { 9.0 }), "{name} store {n}");
        }
    }

    /// Rounding, ties and what is not a number; then products of pairs that are exact in f32.
    #[inline(always)]
    fn check_bf16<L: Lanes>(l: L, name: &str) {
        let mut values: [f32; LANES] = std::array::from_fn(|i| (i as f32 - 7.3) * 1.37);
        [values[0], values[1], values[2]] = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::INFINITY];
        [values[3], values[4]] = [f32::MAX, f32::NEG_INFINITY];
        for n in 0..=LANES / 2 {
            let mut words = [9u32; LANES / 2 + 1];
            // SAFETY: room for `n` words.
            unsafe { l.write_rounded(l.load(&values), words.as_mut_ptr(), n) };
            for (i, word) in words.iter().enumerate() {
                let expected = if i < n { bf16(values[2 * i]) | bf16(values[2 * i + 1]) << 16 } else { 9 };
                assert_eq!(*word, expected, "{name} word {i} of {n}");
            }
        }
        let mut word = 0;
        // SAFETY: room for a word.
        unsafe { l.write_rounded(l.splat(f32::NAN), &mut word, 1) };
        assert!(f32::from_bits(word << 16).is_nan() && f32::from_bits(word & 0xffff_0000).is_nan(), "{name}");
        let pair = |low: f32, high: f32| f32::from_bits(bf16(low) | bf16(high) << 16);
        let a: [f32; LANES] = std::array::from_fn(|i| pair(i as f32, 2.0));
        let b: [f32; LANES] = std::array::from_fn(|i| pair(3.0, 0.5 - i as f32));
        let found = l.to_array(l.dot_halves(l.load(&a), l.load(&b), l.splat(0.25)));
        assert_eq!(found, std::array::from_fn(|i| 1.25 + i as f32), "{name}");
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for (x, expected) in
            [(1.0, 1.0), (1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0), (-3.1, -3.09375)]
        {
            assert_eq!(f32::from_bits(bf16(x) << 16), expected);
        }
        assert!(f32::from_bits(bf16(f32::from_bits(0x7f80_0001)) << 16).is_nan());
    }

    #[test]
    fn weights_stay_finite_as_bf16() {
        let largest = f32::from_bits(0x7f7f_0000);
        for (w, expected) in [
            (f32::MAX, largest),
            (f32::MIN, -largest),
            (f32::INFINITY, largest),
            (largest, largest),
            (largest * 0.99, f32::from_bits(bf16(largest * 0.99) << 16)),
            (-1.0, -1.0),
        ] {
            assert_eq!(f32::from_bits(bf16_weight(w) << 16), expected, "{w:e}");
        }
    }

    #[test]
    fn a_variable_that_names_nothing_is_an_error() {
        let named = |name: &str| Isa::named(Some(std::ffi::OsStr::new(name)));
        assert!(Isa::named(None).is_ok() && named("").is_ok() && named("portable").is_ok());
        let error = named("mmx").unwrap_err();
        assert!(error.contains("`mmx`: there is no such instruction set") && error.contains("portable"), "{error}");
        assert!(named(" portable").is_err() && named("PORTABLE").is_err());
        let error = named(&format!("\u{1b}[31m{}", "x".repeat(1 << 20))).unwrap_err();
        assert!(error.len() < 300 && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn a_variable_that_is_no_text_is_an_error() {
        use std::os::unix::ffi::OsStrExt;
        let error = Isa::named(Some(std::ffi::OsStr::from_bytes(b"avx\xff"))).unwrap_err();
        assert!(error.contains("`avx\u{fffd}`: there is no such instruction set"), "{error}");
    }

    #[test]
    fn every_instruction_set_means_the_same() {
        for isa in Isa::available() {
            let name = isa.name();
            dispatch!(isa, check(name: &str));
            dispatch_bf16!(isa, check(name: &str));
            dispatch_bf16!(isa, check_bf16(name: &str));
        }
        assert_eq!(Isa::available()[0].name(), "portable");
    }
}
