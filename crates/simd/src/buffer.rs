//! Memory that is aligned to cache lines, so that no vector straddles two, and that uses huge pages if it is large.
#![allow(unsafe_code, reason = "views lines of bytes as numbers")]

use std::collections::TryReserveError;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::huge_pages;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Minimum size in bytes for which huge pages are requested.
const LARGE: usize = 4 << 20;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

/// Numbers for which every bit pattern is valid and all-zero bits are zero.
pub trait Plain: Copy + private::Sealed {}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u32 {}
    impl Sealed for i8 {}
}

impl Plain for f32 {}
impl Plain for u32 {}
impl Plain for i8 {}

/// A buffer of numbers, aligned to a cache line.
#[derive(Clone)]
pub struct Buffer<T: Plain> {
    lines: Vec<Line>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), len: 0, of: PhantomData }
    }

    /// The first `len` values, after growing the buffer if necessary. They hold previous contents, or zeros.
    pub fn ensure_len(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Self::new();
            *self = Self::zeroed(len);
        }
        &mut self[..len]
    }

    /// A buffer of `len` zeros.
    ///
    /// # Panics
    /// If memory is exhausted.
    pub fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).unwrap_or_else(|e| panic!("no memory for {len} values: {e}"))
    }

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// If memory is exhausted.
    pub fn try_zeroed(len: usize) -> Result<Self, TryReserveError> {
        let bytes = len.saturating_mul(size_of::<T>());
        let count = bytes.div_ceil(LINE);
        let mut lines: Vec<Line> = Vec::new();
        lines.try_reserve_exact(count)?;
        if bytes >= LARGE {
            huge_pages::request(&mut lines.spare_capacity_mut()[..count]);
        }
        lines.resize(count, Line([0; LINE]));
        Ok(Self { lines, len, of: PhantomData })
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` values, aligned to 64 bytes; `Plain` admits every bit pattern.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the buffer is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Plain> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} values)", self.len)
    }
}

impl<T: Plain> Default for Buffer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Plain> From<&[T]> for Buffer<T> {
    fn from(values: &[T]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        for len in [usize::MAX, usize::MAX / 4, 1 << 60] {
            assert!(Buffer::<f32>::try_zeroed(len).is_err(), "{len}");
        }
        assert_eq!(*Buffer::<f32>::try_zeroed(3).unwrap(), [0.0; 3]);
    }

    #[test]
    fn begins_on_a_line_and_holds_what_was_put_in() {
        for n in [0, 1, 15, 16, 17, 3 << 20] {
            let mut b = Buffer::<f32>::zeroed(n);
            assert!(b.len() == n && b.iter().all(|v| *v == 0.0));
            assert_eq!(b.as_ptr().addr() % LINE, 0);
            b.fill(2.5);
            assert_eq!(b.clone().iter().sum::<f32>(), 2.5 * n as f32);
        }
        let mut grown = Buffer::new();
        grown.ensure_len(3).fill(1.5);
        assert_eq!(*grown.ensure_len(2), [1.5; 2]);
        assert!(grown.ensure_len(40).len() == 40 && grown.as_ptr().addr() % LINE == 0);
        assert_eq!(*Buffer::from(&[1i8, -2, 3][..]), [1, -2, 3]);
    }
}
