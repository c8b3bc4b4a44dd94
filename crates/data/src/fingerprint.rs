//! The fingerprint of a data set: its names, and the content of a small sample selected by hashing the names.
//!
//! The sample holds the items whose names have the smallest hashes. Two data sets that share items therefore share the
//! sampled items that both could hold: the selection of an item does not depend on the other items.

use std::collections::BinaryHeap;

use dyconv_task::Fingerprint;
use flate2::Crc;

use crate::dataset::Dataset;
use crate::split::{Split, name_hash};

/// Largest number of items whose content is read.
const SAMPLE: usize = 64;

impl Dataset {
    /// The fingerprint of this data set, independent of where it is stored and how it is split. Reads at most 64 items.
    pub fn fingerprint(&self) -> Fingerprint {
        let items = self.len(Split::All);
        let mut lines = Vec::with_capacity(items);
        let mut smallest = BinaryHeap::with_capacity(SAMPLE + 1);
        for i in 0..items {
            let (label, name) = self.item(Split::All, i);
            let class = self.classes().get(label).map_or("", String::as_str);
            let person = self.person(Split::All, i);
            let joints = person.map_or(String::new(), |p| format!("\t{:?}\t{:?}", p.bbox, p.joints));
            lines.push(name_hash(&format!("{class}\t{name}{joints}"), 0));
            smallest.push((name_hash(&name, 0) >> 11, i));
            if smallest.len() > SAMPLE {
                smallest.pop();
            }
        }
        lines.sort_unstable();
        let mut names = Crc::new();
        lines.iter().for_each(|line| names.update(&line.to_le_bytes()));
        let sample = smallest.into_sorted_vec().into_iter();
        let sample = sample.map(|(hash, i)| (hash, self.checksum(Split::All, i).unwrap_or(0))).collect();
        Fingerprint { items, names: names.sum(), sample }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataError, OpenOptions};
    use dyconv_task::DataMatch;
    use proptest::prelude::*;
    use std::path::Path;

    /// Writes pictures `class/number.png` whose content is `salt` and the number; they are never decoded here.
    fn write(root: &Path, numbers: std::ops::Range<usize>, salt: &str) {
        for i in numbers {
            let path = root.join(["a", "b"][i % 2]).join(format!("{i}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{salt}{i}")).unwrap();
        }
    }

    fn of(root: &Path, seed: u64) -> Result<Fingerprint, DataError> {
        let options = OpenOptions { seed, ..OpenOptions::default() };
        Dataset::open(root.to_str().unwrap(), &options).map(|data| data.fingerprint())
    }

    /// The fingerprint of a folder of such pictures.
    fn folder(numbers: std::ops::Range<usize>, salt: &str) -> Fingerprint {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), numbers, salt);
        of(dir.path(), 0).unwrap()
    }

    #[test]
    fn the_same_data_elsewhere_and_otherwise_split_are_the_same() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(here.path(), 0..100, "x");
        write(there.path(), 0..100, "x");
        let (first, second) = (of(here.path(), 0).unwrap(), of(there.path(), 7).unwrap());
        assert_eq!((first.items, first.sample.len()), (100, 64));
        assert_eq!(first.compare(&second), DataMatch::Same);
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), first);
        assert!(first.sample.iter().all(|(hash, _)| *hash < 1 << 53));
    }

    #[test]
    fn data_that_grew_shrank_or_were_relabelled_are_the_same_data_changed() {
        let data = folder(0..200, "x");
        for (numbers, why) in
            [(0..203, "three more"), (0..197, "three fewer"), (0..2000, "ten times"), (0..60, "a part")]
        {
            assert_eq!(data.compare(&folder(numbers.clone(), "x")), DataMatch::Changed, "{why}");
            assert_eq!(folder(numbers, "x").compare(&data), DataMatch::Changed, "{why}, the other way");
        }
        let (few, fewer) = (folder(0..8, "x"), folder(0..7, "x"));
        assert_eq!((few.compare(&few), few.compare(&fewer)), (DataMatch::Same, DataMatch::Changed));
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0..200, "x");
        std::fs::rename(dir.path().join("a/0.png"), dir.path().join("b/0.png")).unwrap();
        assert_eq!(data.compare(&of(dir.path(), 0).unwrap()), DataMatch::Changed);
    }

    #[test]
    fn the_same_names_with_other_content_are_other_data() {
        assert_eq!(folder(0..100, "x").compare(&folder(0..100, "y")), DataMatch::Other);
        assert_eq!(folder(0..100, "x").compare(&folder(100..200, "x")), DataMatch::Other);
        let digits = Dataset::open("digits", &OpenOptions::default()).unwrap().fingerprint();
        assert_eq!(folder(0..100, "x").compare(&digits), DataMatch::Other);
        assert_eq!(digits.items, 1797);
    }

    #[test]
    fn what_cannot_be_read_is_known_by_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0..4, "x");
        let data = Dataset::open(dir.path().to_str().unwrap(), &OpenOptions::default()).unwrap();
        for name in ["a/0.png", "b/1.png", "a/2.png", "b/3.png"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        let print = data.fingerprint();
        assert!(print.sample.iter().all(|(_, content)| *content == 0));
        let other = Fingerprint { names: print.names ^ 1, ..print.clone() };
        assert_eq!(print.compare(&other), DataMatch::Other);
    }

    proptest! {
        #[test]
        fn any_fingerprints_can_be_compared(
            items in 0usize..200, sample in prop::collection::vec((0u64..50, 0u32..3), 0..80), names: u32,
        ) {
            let print = Fingerprint { items, names, sample };
            let digits = Fingerprint { items: 3, names: 0, sample: vec![(1, 1), (2, 2)] };
            prop_assert_eq!(print.compare(&digits), digits.compare(&print));
            prop_assert_eq!(print.compare(&print), DataMatch::Same);
        }
    }
}
