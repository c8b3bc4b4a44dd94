//! Splits data without parts into training and validation.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use crate::error::DataError;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Training data.
    Train,
    /// Validation data, on which the network is scored during training; the test part, if a source has one and no
    /// validation part.
    Val,
    /// Test data, on which the final network is scored; empty if the source has no such part.
    Test,
    /// All parts, in this order.
    All,
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "train" => Ok(Self::Train),
            "val" => Ok(Self::Val),
            "test" => Ok(Self::Test),
            "all" => Ok(Self::All),
            _ => Err(DataError::new("split", format!("`{text}`, expected `train`, `val`, `test` or `all`"))),
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::All => "all",
        })
    }
}

/// The hash of a name, which decides alone: XXH64 of the name in UTF-8.
pub(crate) fn name_hash(name: &str, seed: u64) -> u64 {
    xxh64(name.as_bytes(), seed)
}

/// Selects a validation part; returns the indices (training, validation), ascending.
///
/// `name` returns the name of an item, relative to the data set. An item is for validation if XXH64 of its name, seeded
/// with `seed`, is in the lowest `fraction` of all hash values. So an item stays in its part when others are added or
/// removed.
///
/// One exception: a class of two or more items puts at least one in validation, the one with the smallest hash, and
/// keeps at least one for training, the one with the largest; only in classes so small that this matters may an item
/// change parts. A class of one item keeps it for training. A fraction of 0 selects none.
pub(crate) fn drawn(
    labels: &[usize],
    classes: usize,
    name: impl Fn(usize) -> String,
    fraction: f32,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    if fraction <= 0.0 {
        return ((0..labels.len()).collect(), Vec::new());
    }
    let mut chosen = vec![false; labels.len()];
    let mut members = vec![Members::default(); classes];
    for (i, label) in labels.iter().enumerate() {
        let hash = name_hash(&name(i), seed);
        // The upper 53 bits form a fraction that an f64 represents exactly.
        chosen[i] = ((hash >> 11) as f64 / (1u64 << 53) as f64) < f64::from(fraction);
        members[*label].add(i, hash, chosen[i]);
    }
    for class in members.iter().filter(|class| class.count > 0) {
        if class.chosen == class.count {
            chosen[class.largest.1] = false;
        } else if class.chosen == 0 && class.count > 1 {
            chosen[class.smallest.1] = true;
        }
    }
    (0..labels.len()).partition(|i| !chosen[*i])
}

/// The items of a class with the extreme hashes.
#[derive(Clone, Default)]
struct Members {
    count: usize,
    chosen: usize,
    /// Hash and index.
    smallest: (u64, usize),
    largest: (u64, usize),
}

impl Members {
    fn add(&mut self, i: usize, hash: u64, chosen: bool) {
        let first = self.count == 0;
        if first || (hash, i) < self.smallest {
            self.smallest = (hash, i);
        }
        if first || (hash, i) > self.largest {
            self.largest = (hash, i);
        }
        self.count += 1;
        self.chosen += usize::from(chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The validation part of items with these names; the class of each is its first letter.
    fn val(names: &[String], fraction: f32, seed: u64) -> BTreeSet<String> {
        let labels: Vec<usize> = names.iter().map(|name| usize::from(name.as_bytes()[0] - b'a')).collect();
        let (train, val) = drawn(&labels, 3, |i| names[i].clone(), fraction, seed);
        let mut all = [train, val.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..names.len()).collect::<Vec<_>>());
        val.into_iter().map(|i| names[i].clone()).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{}/{i}.png", ["a", "b", "c"][i % 3])).collect()
    }

    #[test]
    fn the_hash_is_xxh64() {
        // Published test values: the empty string, and "a".
        assert_eq!(name_hash("", 0), 0xef46_db37_51d8_e999);
        assert_eq!(name_hash("a", 0), 0xd24e_c4f1_a98c_6e5b);
        assert_ne!(name_hash("a", 1), name_hash("a", 0));
    }

    #[test]
    fn about_the_share_that_was_asked_for_is_drawn() {
        for (fraction, least, most) in [(0.2, 560, 640), (0.5, 1420, 1580), (0.01, 15, 45)] {
            let count = val(&names(3000), fraction, 0).len();
            assert!((least..=most).contains(&count), "{count} of 3,000 at {fraction}");
        }
        assert!(val(&names(3000), 0.0, 0).is_empty());
    }

    #[test]
    fn pictures_that_come_and_go_move_no_other_across() {
        let before = names(300);
        let held_out = val(&before, 0.2, 7);
        let mut after: Vec<String> =
            before.iter().enumerate().filter(|(i, _)| i % 17 != 0).map(|(_, n)| n.clone()).collect();
        after.extend((0..40).map(|i| format!("{}/-new{i}.png", ["a", "b"][i % 2])));
        after.sort();
        let (now, names): (_, BTreeSet<String>) = (val(&after, 0.2, 7), before.into_iter().collect());
        for name in after.iter().filter(|name| names.contains(*name)) {
            assert_eq!(now.contains(name), held_out.contains(name), "{name}");
        }
    }

    #[test]
    fn names_come_back() {
        for split in [Split::Train, Split::Val, Split::Test, Split::All] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
            assert_eq!(serde_json::to_string(&split).unwrap(), format!("\"{split}\""));
        }
        let error = "tests".parse::<Split>().unwrap_err();
        assert_eq!(error.to_string(), "split: `tests`, expected `train`, `val`, `test` or `all`");
    }

    proptest! {
        #[test]
        fn every_class_of_two_is_in_both_parts(count in 0usize..40, fraction in 0.001f32..0.999, seed: u64) {
            let names = names(count);
            let held_out = val(&names, fraction, seed);
            prop_assert_eq!(&val(&names, fraction, seed), &held_out);
            for class in ["a", "b", "c"] {
                let all = names.iter().filter(|name| name.starts_with(class)).count();
                let given = held_out.iter().filter(|name| name.starts_with(class)).count();
                prop_assert!(given < all || all == 0);
                prop_assert!(given >= 1 || all < 2);
            }
        }

        #[test]
        fn the_seed_decides(a: u64, b: u64) {
            prop_assert_eq!(a == b, val(&names(300), 0.3, a) == val(&names(300), 0.3, b));
        }

        #[test]
        fn the_order_does_not_decide(seed: u64, turn in 0usize..60) {
            let mut turned = names(60);
            turned.rotate_left(turn);
            prop_assert_eq!(val(&names(60), 0.3, seed), val(&turned, 0.3, seed));
        }
    }
}
