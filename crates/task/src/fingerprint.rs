//! A fingerprint of the data that a model was trained on.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Identifies a data set, wherever it is stored. Made by `dyconv_data::Dataset::fingerprint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Number of items.
    pub items: usize,
    /// CRC-32 of the labels and names of all items, independent of their order; of persons also of their boxes and
    /// joints.
    pub names: u32,
    /// Hash of the name and CRC-32 of the content of the (up to) 64 items with the smallest hashes, ordered by hash.
    ///
    /// The hash has 53 bits, so that every JSON reader represents it exactly. The content is the bytes of a file or of
    /// a member of a tar file, or the pixels where a source holds many images; it is 0 where it cannot be read.
    pub sample: Vec<(u64, u32)>,
}

/// How the data at hand relate to the data that a [`Fingerprint`] was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataMatch {
    /// The same items with the same labels and, where it was compared, the same content.
    Same,
    /// Items were added, removed, renamed, changed or relabelled, but a substantial part is the same.
    Changed,
    /// Other data.
    Other,
}

impl Fingerprint {
    /// Compares this fingerprint with that of the data at hand. They count as the same data, changed, if at least a
    /// quarter of the items that both samples could hold are in both, by name and content.
    pub fn compare(&self, now: &Self) -> DataMatch {
        if self == now {
            return DataMatch::Same;
        }
        let reach = self.reach().min(now.reach());
        let within = |data: &Self| -> HashSet<(u64, u32)> {
            data.sample.iter().copied().filter(|(hash, _)| *hash <= reach).collect()
        };
        let (then, now) = (within(self), within(now));
        // Items that could not be read match nothing.
        let found = then.intersection(&now).filter(|(_, content)| *content != 0).count();
        if found > 0 && 4 * found >= then.len().min(now.len()) { DataMatch::Changed } else { DataMatch::Other }
    }

    /// The largest hash up to which the sample holds every item.
    fn reach(&self) -> u64 {
        let last = self.sample.iter().map(|(hash, _)| *hash).max();
        last.filter(|_| self.items > self.sample.len()).unwrap_or(u64::MAX)
    }
}
