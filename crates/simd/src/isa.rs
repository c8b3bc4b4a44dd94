//! The instruction sets, and the choice among them.

use std::sync::OnceLock;

use crate::lanes::Lanes;
#[cfg(target_arch = "aarch64")]
use crate::neon::Neon;
use crate::portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::x86::Avx2;
#[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
use crate::x86::Avx512;

/// An instruction set that this CPU supports. It is an argument of every kernel.
#[derive(Debug, Clone, Copy)]
pub struct Isa(Token);

/// Proof that this CPU supports an instruction set. Hidden: [`dispatch!`](crate::dispatch!) matches on it, in any
/// crate, and the compiler reports the places where a new one is missing.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// Plain Rust, on every CPU.
    Portable(Portable),
    /// NEON of 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// AVX2 with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512F.
    #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
    Avx512(Avx512),
    /// AVX-512F with AVX512-BF16 for products of bf16; everything else is as for AVX-512F.
    #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
    Avx512Bf16(Avx512<true>),
}

impl Isa {
    /// All names, including those that this CPU does not support.
    const NAMES: [&str; 5] = ["portable", "neon", "avx2", "avx512", "avx512bf16"];

    /// The fastest instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or_else(Self::portable)
    }

    /// The instruction set named by the environment variable `DYCONV_ISA`, or the fastest of this CPU. The variable is
    /// read once, so the choice of a process never changes.
    ///
    /// # Errors
    /// If the variable has another value: a message that names the possible ones.
    pub fn chosen() -> Result<Self, String> {
        static CHOSEN: OnceLock<Result<Isa, String>> = OnceLock::new();
        CHOSEN.get_or_init(|| Self::named(std::env::var_os("DYCONV_ISA").as_deref())).clone()
    }

    #[doc(hidden)]
    #[inline(always)]
    pub fn token(self) -> Token {
        self.0
    }

    /// Like [`chosen`](Self::chosen), for this value of the variable; a missing or empty value means the fastest.
    fn named(name: Option<&std::ffi::OsStr>) -> Result<Self, String> {
        match name {
            Some(name) if !name.is_empty() => Self::by_name(&name.to_string_lossy()),
            _ => Ok(Self::detect()),
        }
    }

    /// The instruction set with this name ([`name`](Self::name)).
    ///
    /// # Errors
    /// If there is none: a message that lists the available ones.
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

    /// The fallback for every CPU.
    pub fn portable() -> Self {
        Self(Token::Portable(Portable::new()))
    }

    /// Every instruction set of this CPU, slowest first.
    pub fn available() -> Vec<Self> {
        let found = [
            Some(Token::Portable(Portable::new())),
            #[cfg(target_arch = "aarch64")]
            Neon::detect().map(Token::Neon),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Token::Avx2),
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            Avx512::<false>::detect().map(Token::Avx512),
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            Avx512::<true>::detect().map(Token::Avx512Bf16),
        ];
        found.into_iter().flatten().map(Self).collect()
    }

    /// [`Lanes::TILE_ROWS`] of the instruction set.
    pub fn tile_rows(self) -> [usize; 3] {
        match self.0 {
            Token::Portable(_) => Portable::TILE_ROWS,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Neon::TILE_ROWS,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Avx2::TILE_ROWS,
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            Token::Avx512(_) | Token::Avx512Bf16(_) => <Avx512>::TILE_ROWS,
        }
    }

    /// Whether the CPU has instructions that multiply bf16; otherwise bf16 is widened to f32 first.
    pub fn multiplies_bf16(self) -> bool {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            Token::Avx512Bf16(_) => true,
            _ => false,
        }
    }

    /// `portable`, `neon`, `avx2`, `avx512` or `avx512bf16`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Token::Portable(_) => "portable",
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => "neon",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            Token::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "x86_64", not(dyconv_no_avx512)))]
            Token::Avx512Bf16(_) => "avx512bf16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
