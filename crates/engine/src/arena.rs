//! Assigns places in one buffer to values, reusing the memory of values that are not live at the same time.
//!
//! Largest first, each value gets the lowest offset at which it overlaps no value placed before it in both time and
//! space. This is simple, and close to the lower bound on networks that are mostly chains.

/// Values start at multiples of this number of elements: one cache line.
const ALIGNMENT: usize = 16;

/// Lifetime and size of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// Number of elements.
    pub(crate) len: usize,
    /// Step that writes it.
    pub(crate) first: usize,
    /// Last step that reads it.
    pub(crate) last: usize,
}

/// A range of the arena, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

impl Slot {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// A value in the arena: a map whose pixels are `step` elements apart, from the first element of the first pixel to the
/// last element of the last one. A vector is one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) slot: Slot,
    pub(crate) step: usize,
}

impl View {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.slot.range()
    }
}

/// The slot of each value, and the number of elements of the arena that holds them all.
pub(crate) fn place(lives: &[Life]) -> (Vec<Slot>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(lives[*i].len));
    let mut slots: Vec<Option<Slot>> = vec![None; lives.len()];
    let mut end = 0;
    for i in order {
        let life = lives[i];
        let mut taken: Vec<Slot> = (0..lives.len())
            .filter(|j| lives[*j].first <= life.last && life.first <= lives[*j].last)
            .filter_map(|j| slots[j])
            .collect();
        taken.sort_by_key(|slot| slot.offset);
        let mut offset = 0;
        for slot in taken {
            if offset + life.len <= slot.offset {
                break;
            }
            offset = offset.max((slot.offset + slot.len).next_multiple_of(ALIGNMENT));
        }
        slots[i] = Some(Slot { offset, len: life.len });
        end = end.max(offset + life.len);
    }
    (slots.into_iter().flatten().collect(), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_neighbours_at_a_time() {
        let lives: Vec<Life> = (0..10).map(|i| Life { len: 64, first: i, last: i + 1 }).collect();
        assert_eq!(place(&lives).1, 128);
        assert_eq!(place(&[]), (vec![], 0));
    }

    proptest! {
        #[test]
        fn values_that_live_together_lie_apart(raw in prop::collection::vec((1usize..100, 0usize..30, 0usize..10), 0..40)) {
            let lives: Vec<Life> =
                raw.iter().map(|(len, first, more)| Life { len: *len, first: *first, last: first + more }).collect();
            let (slots, end) = place(&lives);
            prop_assert_eq!(slots.len(), lives.len());
            for i in 0..lives.len() {
                prop_assert_eq!(slots[i].len, lives[i].len);
                prop_assert!(slots[i].range().end <= end && slots[i].offset % ALIGNMENT == 0);
                for j in 0..i {
                    let together = lives[i].first <= lives[j].last && lives[j].first <= lives[i].last;
                    let apart = slots[i].range().end <= slots[j].offset || slots[j].range().end <= slots[i].offset;
                    prop_assert!(apart || !together, "{:?} {:?} at {:?} {:?}", lives[i], lives[j], slots[i], slots[j]);
                }
            }
        }
    }
}
