//! The names of the parts of a data set.

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Val,
    Test,
}

impl Part {
    /// In the order of the items of a data set.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The purpose of the part.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Val => "validation",
            Self::Test => "testing",
        }
    }

    /// The part with the name of this folder, case-insensitive.
    pub fn of_folder(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }

    /// The parts whose name occurs in a file name as a word, that is, not next to other letters.
    pub fn in_name(name: &str) -> Vec<Self> {
        let words = name.split(|c: char| !c.is_alphabetic());
        let mut parts: Vec<Self> = words
            .filter_map(|word| match word.to_lowercase().as_str() {
                "trainset" | "trainval" => Some(Self::Train),
                "valset" => Some(Self::Val),
                "testset" => Some(Self::Test),
                _ => Self::of_folder(word),
            })
            .collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_go_by_many_names() {
        for (names, part) in [
            (&["train", "Train", "TRAINING"][..], Part::Train),
            (&["val", "Valid", "validation", "dev", "DEV"], Part::Val),
            (&["test", "Testing"], Part::Test),
        ] {
            assert!(names.iter().all(|name| Part::of_folder(name) == Some(part)), "{names:?}");
        }
        for name in ["tram", "trainer", "value", "devil", "contest", "", "train2"] {
            assert_eq!(Part::of_folder(name), None, "{name}");
        }
    }

    #[test]
    fn a_word_anywhere_in_a_name_says_the_part() {
        for (name, parts) in [
            ("imagenet1k-train-0000.tar", &[Part::Train][..]),
            ("imagenet1k-validation-00.tar", &[Part::Val]),
            ("foo_val_3.tar", &[Part::Val]),
            ("train000.tar", &[Part::Train]),
            ("00Test.tar", &[Part::Test]),
            ("cifar.dev.01.tar", &[Part::Val]),
            ("train-trainset.tar", &[Part::Train]),
            ("val-of-train.tar", &[Part::Train, Part::Val]),
            ("contest-trainer-value.tar", &[]),
        ] {
            assert_eq!(Part::in_name(name), parts, "{name}");
        }
    }
}
