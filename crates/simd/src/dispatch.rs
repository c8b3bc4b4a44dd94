//! Compiles one generic body into one function per instruction set.

/// Calls `body(token, arguments…)`, compiled for the instruction set of `isa`.
#[doc(hidden)]
#[macro_export]
macro_rules! dispatch {
    ($isa:expr, $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {{
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon")]
        #[allow(clippy::too_many_arguments)]
        fn neon(token: $crate::Neon, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        fn avx2(token: $crate::Avx2, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
        #[target_feature(enable = "avx512f")]
        #[allow(clippy::too_many_arguments)]
        fn avx512(token: $crate::Avx512, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        match $crate::Isa::token($isa) {
            $crate::Token::Portable(token) => $body(token, $($arg),*),
            #[cfg(target_arch = "aarch64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: a `Neon` exists only where the CPU was seen to have NEON.
            $crate::Token::Neon(token) => unsafe { neon(token, $($arg),*) },
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: an `Avx2` exists only where the CPU was seen to have avx2 and fma.
            $crate::Token::Avx2(token) => unsafe { avx2(token, $($arg),*) },
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: an `Avx512` exists only where the CPU was seen to have avx512f.
            $crate::Token::Avx512(token) => unsafe { avx512(token, $($arg),*) },
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: as above; the token is turned into one that proves less.
            $crate::Token::Avx512Bf16(token) => unsafe { avx512(token.without_bf16(), $($arg),*) },
        }
    }};
}

/// Like [`dispatch!`], for bodies that round to bf16 or multiply bf16: compiled once more, with the bf16 instructions.
#[doc(hidden)]
#[macro_export]
macro_rules! dispatch_bf16 {
    ($isa:expr, $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {{
        #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
        #[target_feature(enable = "avx512f,avx512bf16")]
        #[allow(clippy::too_many_arguments)]
        fn avx512bf16(token: $crate::Avx512<true>, $($arg: $ty),*) {
            $body(token, $($arg),*)
        }
        let isa: $crate::Isa = $isa;
        match $crate::Isa::token(isa) {
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            #[allow(unsafe_code, reason = "enters code compiled for an instruction set that the token proves")]
            // SAFETY: an `Avx512<true>` exists only where the CPU was seen to have avx512f and avx512bf16.
            $crate::Token::Avx512Bf16(token) => unsafe { avx512bf16(token, $($arg),*) },
            _ => $crate::dispatch!(isa, $body($($arg: $ty),*)),
        }
    }};
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "writes through pointers")]

    use crate::{Isa, LANES, Lanes, bf16};

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

    /// Rounding, ties and NaN; then products of pairs, which are exact in f32.
    #[inline(always)]
    fn check_bf16<L: Lanes>(l: L, name: &str) {
        let mut values: [f32; LANES] = std::array::from_fn(|i| (i as f32 - 7.3) * 1.37);
        [values[0], values[1], values[2]] = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::INFINITY];
        [values[3], values[4]] = [f32::MAX, f32::NEG_INFINITY];
        for n in 0..=LANES / 2 {
            let mut words = [9u32; LANES / 2 + 1];
            // SAFETY: room for `n` words.
            unsafe { l.write_bf16(l.load(&values), words.as_mut_ptr(), n) };
            for (i, word) in words.iter().enumerate() {
                let expected = if i < n { bf16(values[2 * i]) | bf16(values[2 * i + 1]) << 16 } else { 9 };
                assert_eq!(*word, expected, "{name} word {i} of {n}");
            }
        }
        let mut word = 0;
        // SAFETY: room for a word.
        unsafe { l.write_bf16(l.splat(f32::NAN), &mut word, 1) };
        assert!(f32::from_bits(word << 16).is_nan() && f32::from_bits(word & 0xffff_0000).is_nan(), "{name}");
        let pair = |low: f32, high: f32| f32::from_bits(bf16(low) | bf16(high) << 16);
        let a: [f32; LANES] = std::array::from_fn(|i| pair(i as f32, 2.0));
        let b: [f32; LANES] = std::array::from_fn(|i| pair(3.0, 0.5 - i as f32));
        let found = l.to_array(l.dot_bf16(l.load(&a), l.load(&b), l.splat(0.25)));
        assert_eq!(found, std::array::from_fn(|i| 1.25 + i as f32), "{name}");
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
