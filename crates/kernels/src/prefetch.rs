//! Memory that the next kernel reads, prefetched while the current one computes.

use crate::threads::share;

/// Memory that the next kernel will read; the current one prefetches it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefetchRange {
    start: usize,
    end: usize,
}

impl PrefetchRange {
    /// The memory of these values.
    pub fn of<T>(values: &[T]) -> Self {
        let range = values.as_ptr_range();
        Self { start: range.start.addr(), end: range.end.addr() }
    }

    pub(crate) fn new(range: std::ops::Range<*const u8>) -> Self {
        Self { start: range.start.addr(), end: range.end.addr() }
    }

    /// The addresses.
    pub fn addresses(self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// Bytes of the range.
    #[expect(clippy::len_without_is_empty, reason = "a number of bytes, of no collection")]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// The part of a thread, when all threads read equal shares.
    pub(crate) fn share(self, part: usize, parts: usize) -> Self {
        let share = share(self.len(), part, parts);
        Self { start: self.start + share.start, end: self.start + share.end }
    }

    /// Cuts `bytes` off the front, as far as there are so many.
    #[inline(always)]
    pub(crate) fn take(&mut self, bytes: usize) -> *const u8 {
        let front = self.start;
        self.start = self.end.min(front + bytes);
        std::ptr::without_provenance(front)
    }
}

/// What a thread prefetches while it computes: its share of what comes next.
pub(crate) struct Prefetcher([PrefetchRange; 2]);

impl Prefetcher {
    /// Most bytes of each range that are worth prefetching.
    const LIMIT: usize = 512 << 10;

    pub(crate) fn new(ranges: [PrefetchRange; 2], part: usize, parts: usize) -> Self {
        Self(ranges.map(|range| {
            let mut share = range.share(part, parts);
            share.end = share.end.min(share.start + Self::LIMIT);
            share
        }))
    }

    /// The range to cut from now.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> &mut PrefetchRange {
        let [first, second] = &mut self.0;
        if first.len() > 0 { first } else { second }
    }
}
