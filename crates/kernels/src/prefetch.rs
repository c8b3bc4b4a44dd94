//! Prefetching of the memory that the next kernel reads, while the current one computes.

use crate::threads::share;

/// Memory that the next kernel will read; the current one prefetches it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefetchRange {
    start: usize,
    end: usize,
}

impl PrefetchRange {
    /// The memory of `values`.
    pub fn of<T>(values: &[T]) -> Self {
        let range = values.as_ptr_range();
        Self { start: range.start.addr(), end: range.end.addr() }
    }

    pub(crate) fn new(range: std::ops::Range<*const u8>) -> Self {
        Self { start: range.start.addr(), end: range.end.addr() }
    }

    /// The address range.
    pub fn addresses(self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a number of bytes, of no collection")]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// The share of one of `parts` threads, if all threads read equal shares.
    pub(crate) fn share(self, part: usize, parts: usize) -> Self {
        let share = share(self.len(), part, parts);
        Self { start: self.start + share.start, end: self.start + share.end }
    }

    /// Removes up to `bytes` bytes from the front and returns them.
    #[inline(always)]
    pub(crate) fn take(&mut self, bytes: usize) -> *const u8 {
        let front = self.start;
        self.start = self.end.min(front + bytes);
        std::ptr::without_provenance(front)
    }
}

/// What one thread prefetches while it computes: its share of what is read next.
pub(crate) struct Prefetcher([PrefetchRange; 2]);

impl Prefetcher {
    /// Maximum number of bytes of each range that are worth prefetching.
    const LIMIT: usize = 512 << 10;

    pub(crate) fn new(ranges: [PrefetchRange; 2], part: usize, parts: usize) -> Self {
        Self(ranges.map(|range| {
            let mut share = range.share(part, parts);
            share.end = share.end.min(share.start + Self::LIMIT);
            share
        }))
    }

    /// The range from which to prefetch now.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> &mut PrefetchRange {
        let [first, second] = &mut self.0;
        if first.len() > 0 { first } else { second }
    }
}
