//! Messages about records that were ignored or interpreted.

use super::number::Written;
use crate::words::thousands;

/// A set of records: their number, and the ids of the first ones.
#[derive(Default)]
pub(super) struct Records {
    count: usize,
    first: Vec<u64>,
}

impl Records {
    /// Number of records that are named.
    const SHOWN: usize = 3;

    pub fn push(&mut self, id: u64) {
        self.count += 1;
        if self.first.len() < Self::SHOWN {
            self.first.push(id);
        }
    }

    /// `3 persons without …, left out (annotations 17, 18, …)`, or `None` if there are none.
    pub fn note(&self, what: &str, records: &str) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let ids: Vec<String> = self.first.iter().map(u64::to_string).collect();
        let more = if self.count > Self::SHOWN { ", …" } else { "" };
        Some(format!("{} {what} ({records} {}{more})", thousands(self.count), ids.join(", ")))
    }
}

/// Records whose numbers are not written in COCO's notation.
#[derive(Default)]
pub(super) struct Unusual {
    decimals: Records,
    texts: Records,
    words: Records,
}

impl Unusual {
    /// Records the notation of the numbers of a record.
    pub fn see(&mut self, id: u64, numbers: &[Written]) {
        let kinds = [
            (Written::Decimal, &mut self.decimals),
            (Written::Text, &mut self.texts),
            (Written::Word, &mut self.words),
        ];
        for (written, records) in kinds {
            if numbers.contains(&written) {
                records.push(id);
            }
        }
    }

    /// The messages; `records` is the word for the records.
    pub fn notes(&self, records: &str) -> impl Iterator<Item = String> {
        let says = |records_: &Records, how: &str| records_.note(&format!("{records} {how}"), records);
        [
            says(&self.decimals, "with whole numbers written as 17.0, read as 17"),
            says(&self.texts, "with numbers written as text, read as numbers"),
            says(&self.words, "with true, false or null for iscrowd, read as 1, 0 and 0"),
        ]
        .into_iter()
        .flatten()
    }
}
