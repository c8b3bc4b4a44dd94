//! Training and validation parts of data that come in one piece.

use std::str::FromStr;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::xxh64;

use crate::error::DataError;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What a network learns from.
    Train,
    /// What it is measured on.
    Val,
    /// Both, training part first.
    All,
}

impl FromStr for Split {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "train" => Ok(Self::Train),
            "val" => Ok(Self::Val),
            "all" => Ok(Self::All),
            _ => Err(DataError::new("split", format!("`{text}`, expected `train`, `val` or `all`"))),
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::All => "all",
        })
    }
}

/// What decides by name alone: XXH64 of the name in UTF-8.
pub(crate) fn name_hash(name: &str, seed: u64) -> u64 {
    xxh64(name.as_bytes(), seed)
}

/// Draws a validation part that has every class in proportion; returns the indices (training, validation), ascending.
///
/// ⌈`fraction` · images⌉ images are shared out among the classes by largest remainder. A class of two or more gives at
/// least one image and keeps at least one; a class of one keeps it. A fraction of 0 gives none.
pub(crate) fn stratified(labels: &[usize], classes: usize, fraction: f32, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut members = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(i, label)| members[*label].push(i));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = vec![false; labels.len()];
    let counts: Vec<usize> = members.iter().map(Vec::len).collect();
    for (members, quota) in members.iter_mut().zip(quotas(&counts, fraction)) {
        members.shuffle(&mut rng);
        members[..quota].iter().for_each(|i| chosen[*i] = true);
    }
    (0..labels.len()).partition(|i| !chosen[*i])
}

/// How many images each class gives.
fn quotas(counts: &[usize], fraction: f32) -> Vec<usize> {
    if fraction <= 0.0 {
        return vec![0; counts.len()];
    }
    // f32 knows 0.2 as 0.2000000030: a thousandth of an image is no image.
    let share = |count: usize| f64::from(fraction) * count as f64;
    let wanted = (share(counts.iter().sum()) - 1e-3).ceil() as usize;
    let floors: Vec<usize> = counts.iter().map(|count| share(*count) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    let remainder = |class: usize| share(counts[class]) - floors[class] as f64;
    by_remainder.sort_by(|a, b| remainder(*b).total_cmp(&remainder(*a)));
    let mut quotas = floors.clone();
    for class in by_remainder.into_iter().take(wanted.saturating_sub(floors.iter().sum())) {
        quotas[class] += 1;
    }
    let bounded = |(quota, count): (usize, &usize)| if *count < 2 { 0 } else { quota.clamp(1, count - 1) };
    quotas.into_iter().zip(counts).map(bounded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fifth_of_ten_is_two() {
        assert_eq!(quotas(&[5, 5], 0.2), vec![1, 1]);
        assert_eq!(quotas(&[10, 3, 2, 1, 0], 0.2), vec![2, 1, 1, 0, 0]);
        assert_eq!(quotas(&[10, 10], 0.0), vec![0, 0]);
        assert_eq!(quotas(&[3, 3], 0.99), vec![2, 2]);
    }

    #[test]
    fn names_come_back() {
        for split in [Split::Train, Split::Val, Split::All] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
            assert_eq!(serde_json::to_string(&split).unwrap(), format!("\"{split}\""));
        }
        let error = "test".parse::<Split>().unwrap_err();
        assert_eq!(error.to_string(), "split: `test`, expected `train`, `val` or `all`");
    }

    proptest! {
        #[test]
        fn a_split_is_a_partition_with_every_class_in_proportion(
            labels in prop::collection::vec(0usize..6, 0..120), fraction in 0.01f32..0.99, seed: u64,
        ) {
            let (train, val) = stratified(&labels, 6, fraction, seed);
            prop_assert_eq!(&stratified(&labels, 6, fraction, seed), &(train.clone(), val.clone()));
            let mut all = [train.clone(), val.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for class in 0..6 {
                let count = |part: &[usize]| part.iter().filter(|i| labels[**i] == class).count();
                let (t, v) = (count(&train), count(&val));
                prop_assert!(t >= 1 || v == 0);
                prop_assert!(v >= 1 || t < 2);
                let ideal = f64::from(fraction) * (t + v) as f64;
                prop_assert!((v as f64 - ideal).abs() <= 1.001, "{v} of {}, {ideal} wanted", t + v);
            }
        }

        #[test]
        fn the_seed_decides(a: u64, b: u64) {
            let labels: Vec<usize> = (0..200).map(|i| i % 2).collect();
            prop_assert_eq!(a == b, stratified(&labels, 2, 0.3, a) == stratified(&labels, 2, 0.3, b));
        }
    }
}
