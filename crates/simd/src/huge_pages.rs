//! Huge pages: streams of weights or activations cause far fewer TLB misses there.
#![allow(unsafe_code, reason = "advises the system about pages")]

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Requests huge pages for memory that is not written yet. If the request fails, only speed is lost.
pub(crate) fn request<T>(memory: &mut [MaybeUninit<T>]) {
    let start = memory.as_mut_ptr().cast::<u8>();
    advise_new(start, size_of_val(memory));
}

#[cfg(target_os = "linux")]
fn advise_new(start: *mut u8, bytes: usize) {
    const PAGE: usize = 4096;
    let skip = start.addr().next_multiple_of(PAGE) - start.addr();
    // Miri does not support `madvise`.
    if bytes > skip && !cfg!(miri) {
        let (start, bytes) = (start.wrapping_add(skip), (bytes - skip) / PAGE * PAGE);
        // SAFETY: the range is page-aligned and inside one allocation; the advice changes no value.
        unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_new(_start: *mut u8, _bytes: usize) {}

/// Moves values to huge pages wherever the address ranges fill at least half of one. No value changes; if the system
/// refuses, only speed is lost.
///
/// Call it once, when all weights are in place: it copies them, at about 1 GB/s.
pub fn advise_huge_pages(ranges: impl IntoIterator<Item = Range<usize>>) {
    for (page, filled) in pages(ranges) {
        if filled >= HUGE_PAGE / 2 {
            collapse(page * HUGE_PAGE);
        }
    }
}

/// The huge pages that the ranges touch, with the number of bytes that they fill in each.
fn pages(ranges: impl IntoIterator<Item = Range<usize>>) -> BTreeMap<usize, usize> {
    let mut pages = BTreeMap::new();
    for Range { start: mut at, end } in ranges {
        while at < end {
            let next = end.min((at / HUGE_PAGE + 1) * HUGE_PAGE);
            *pages.entry(at / HUGE_PAGE).or_default() += next - at;
            at = next;
        }
    }
    pages
}

#[cfg(target_os = "linux")]
fn collapse(page: usize) {
    /// `libc` defines it only for the GNU C library.
    const MADV_COLLAPSE: libc::c_int = 25;
    // SAFETY: this advice moves pages without changing a value, whatever else lies in them; it fails where there are none.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(page), HUGE_PAGE, MADV_COLLAPSE) };
}

#[cfg(not(target_os = "linux"))]
fn collapse(_page: usize) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;

    #[test]
    fn ranges_fill_pages() {
        let at = |start: usize, len: usize| start..start + len;
        let found = pages([at(HUGE_PAGE - 64, 128), at(HUGE_PAGE + 64, 2 * HUGE_PAGE), at(9 * HUGE_PAGE, 0)]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(0, 64), (1, HUGE_PAGE), (2, HUGE_PAGE), (3, 64)]);
    }

    #[test]
    fn moving_keeps_values() {
        let values: Vec<f32> = (0..3 << 20).map(|i| i as f32).collect();
        let buffer = Buffer::from(&values[..]);
        let addresses = buffer.as_ptr_range();
        advise_huge_pages(std::iter::once(addresses.start.addr()..addresses.end.addr()));
        assert!(*buffer == *values);
    }
}
