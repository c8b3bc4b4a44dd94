//! What a source ignored: files counted by reason, folders by name.

use std::collections::BTreeMap;
use std::path::Path;

use crate::words::{shown, thousands};

/// Largest number of different extensions that are counted separately.
const ENDINGS: usize = 40;
/// Longest extension that is shown, in bytes.
const LONG_ENDING: usize = 12;
/// Largest number of folders that are named.
const FOLDERS: usize = 5;

/// The ignored files and folders.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    files: BTreeMap<String, usize>,
    /// Name and, if the name is not self-explanatory, the reason.
    folders: Vec<(String, Option<String>)>,
    /// Sentences about the whole source.
    notes: Vec<String>,
}

impl LeftOut {
    /// Counts a file under a reason that can follow a number, such as `without a label`.
    pub fn file(&mut self, reason: &str) {
        self.files(reason, 1);
    }

    /// Counts files under a reason.
    pub fn files(&mut self, reason: &str, count: usize) {
        if count > 0 {
            *self.files.entry(reason.to_owned()).or_default() += count;
        }
    }

    /// Counts a file under its extension.
    pub fn ending(&mut self, path: &Path) {
        let ending = path.extension().and_then(|end| end.to_str()).map(str::to_lowercase);
        let reason = match ending {
            None => "without an ending".to_owned(),
            Some(end) if self.files.contains_key(&end) => end,
            Some(end) if end.len() > LONG_ENDING || self.files.len() >= ENDINGS || !is_word(&end) => {
                "others".to_owned()
            }
            Some(end) => end,
        };
        self.file(&reason);
    }

    /// Adds a folder; `reason` is given if its name is not self-explanatory.
    pub fn folder(&mut self, name: impl Into<String>, reason: Option<&str>) {
        self.folders.push((name.into(), reason.map(str::to_owned)));
    }

    /// Adds a sentence about the whole source.
    pub fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Merges what was ignored elsewhere.
    pub fn merge(&mut self, other: Self) {
        other.files.iter().for_each(|(reason, count)| self.files(reason, *count));
        self.folders.extend(other.folders);
        self.notes.extend(other.notes);
    }

    /// Number of files by reason: their extension, or words such as `without a label`.
    pub fn counts(&self) -> &BTreeMap<String, usize> {
        &self.files
    }

    /// The files only: `4 heic, 4 txt, 2 without a label`, the most frequent first.
    pub fn list(&self) -> Option<String> {
        let mut counts: Vec<(&String, &usize)> = self.files.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let list: Vec<String> = counts.iter().map(|(reason, n)| format!("{} {reason}", thousands(**n))).collect();
        (!list.is_empty()).then(|| list.join(", "))
    }

    /// One line for the user: `12 files left out: 4 heic, 4 txt, 4 without a label; 2 folders left out: runs (holds
    /// runs), __MACOSX`; `None` if nothing was ignored.
    pub fn sentence(&self) -> Option<String> {
        let total = self.files.values().sum();
        let files = self.list().map(|list| format!("{} left out: {list}", plural(total, "file")));
        let named = |(name, reason): &(String, Option<String>)| match reason {
            Some(reason) => format!("{} ({reason})", shown(name, 60)),
            None => shown(name, 60),
        };
        let mut names: Vec<String> = self.folders.iter().take(FOLDERS).map(named).collect();
        if self.folders.len() > FOLDERS {
            names.push("…".to_owned());
        }
        let folders = (!names.is_empty())
            .then(|| format!("{} left out: {}", plural(self.folders.len(), "folder"), names.join(", ")));
        let all: Vec<String> = files.into_iter().chain(folders).chain(self.notes.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// `1 file`, `2 files`.
fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_one_line() {
        let mut left = LeftOut::default();
        assert_eq!((left.sentence(), left.list()), (None, None));
        for name in ["a.txt", "b.TXT", "c.heic", "README", "x.\u{1b}[31m", &format!("y.{}", "z".repeat(1 << 20))] {
            left.ending(Path::new(name));
        }
        left.files("without a label", 3);
        left.files("hidden", 0);
        left.folder("runs", Some("holds runs"));
        left.folder("__MACOSX", None);
        let files = "9 files left out: 3 without a label, 2 others, 2 txt, 1 heic, 1 without an ending";
        assert_eq!(left.sentence().unwrap(), format!("{files}; 2 folders left out: runs (holds runs), __MACOSX"));
        assert_eq!(left.counts()["txt"], 2);
    }

    #[test]
    fn a_thousand_endings_and_folders_are_still_one_line() {
        let mut left = LeftOut::default();
        for i in 0..1000 {
            left.ending(Path::new(&format!("x.{i:05}")));
            left.folder(format!("f{i}"), None);
        }
        assert_eq!(left.counts().len(), ENDINGS + 1);
        assert!(left.sentence().unwrap().ends_with("1,000 folders left out: f0, f1, f2, f3, f4, …"));
    }
}
