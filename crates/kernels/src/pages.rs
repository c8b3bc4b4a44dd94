//! Large pages for weights that lie in small ones: a stream of weights crosses far fewer page borders then.
#![allow(unsafe_code, reason = "asks the system for large pages")]

use std::collections::BTreeMap;

use crate::geometry::Span;

/// Bytes of a large page.
const PAGE: usize = 2 << 20;

/// Asks for large pages wherever the spans fill at least half of one. Changes no value; a refusal costs only speed.
///
/// Call it once, when all weights are in place: they are moved, at about a gigabyte in a second.
pub fn settle(spans: impl IntoIterator<Item = Span>) {
    for (page, filled) in pages(spans) {
        if filled >= PAGE / 2 {
            collapse(page * PAGE);
        }
    }
}

/// The large pages that the spans touch, and how many bytes of each they fill.
fn pages(spans: impl IntoIterator<Item = Span>) -> BTreeMap<usize, usize> {
    let mut pages = BTreeMap::new();
    for span in spans {
        let (mut at, end) = (span.start(), span.start() + span.len());
        while at < end {
            let next = end.min((at / PAGE + 1) * PAGE);
            *pages.entry(at / PAGE).or_default() += next - at;
            at = next;
        }
    }
    pages
}

#[cfg(target_os = "linux")]
fn collapse(page: usize) {
    const MADV_COLLAPSE: i32 = 25;
    unsafe extern "C" {
        fn madvise(start: *mut u8, bytes: usize, advice: i32) -> i32;
    }
    // SAFETY: this advice moves pages without changing a value, whatever else lies in them; it fails where there are none.
    unsafe { madvise(std::ptr::without_provenance_mut(page), PAGE, MADV_COLLAPSE) };
}

#[cfg(not(target_os = "linux"))]
fn collapse(_page: usize) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;

    #[test]
    fn spans_fill_pages() {
        let at = |start: usize, len: usize| {
            Span::new(std::ptr::without_provenance(start)..std::ptr::without_provenance(start + len))
        };
        let found = pages([at(PAGE - 64, 128), at(PAGE + 64, 2 * PAGE), at(9 * PAGE, 0)]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(0, 64), (1, PAGE), (2, PAGE), (3, 64)]);
    }

    #[test]
    fn settling_keeps_values() {
        let values: Vec<f32> = (0..3 << 20).map(|i| i as f32).collect();
        let buffer = Buffer::from(&values[..]);
        settle([Span::of(&buffer)]);
        assert!(*buffer == *values);
    }
}
