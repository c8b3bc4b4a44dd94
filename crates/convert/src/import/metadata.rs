//! What an ONNX file says about itself in its metadata: our header, or the keys that ultralytics writes.

use std::collections::BTreeMap;

use dyconv_file::Provenance;
use dyconv_task::{Preprocessing, Task};
use serde::Deserialize;

use crate::note::Note;

/// What was found.
#[derive(Default)]
pub struct Told {
    pub task: Option<Task>,
    pub classes: Option<Vec<String>>,
    pub preprocessing: Option<Preprocessing>,
    pub provenance: Option<Provenance>,
    pub notes: Vec<Note>,
}

/// The fields of the header that a file exported by this program holds; its graph is that of the file.
#[derive(Deserialize)]
struct Header {
    preprocessing: Preprocessing,
    task: Task,
    #[serde(default)]
    provenance: Provenance,
}

/// Reads the metadata of a network with this input.
pub fn read(metadata: &BTreeMap<String, String>, [channels, height, width]: [usize; 3]) -> Told {
    if let Some(text) = metadata.get("dyconv") {
        match serde_json::from_str(text) {
            Ok(Header { preprocessing, task, provenance }) if preprocessing.check().is_ok() => {
                return Told {
                    task: Some(task),
                    preprocessing: Some(preprocessing),
                    provenance: Some(provenance),
                    ..Told::default()
                };
            }
            _ => {
                let note = "the header of dyconv in the file's metadata cannot be used, and was left out".to_owned();
                return Told { notes: vec![note.into()], ..Told::default() };
            }
        }
    }
    let mut told = Told::default();
    if let Some(text) = metadata.get("names") {
        match names(text) {
            Some(names) => told.classes = Some(names),
            None => {
                let note = "`names` in the file's metadata is no list of names, and was left out".to_owned();
                told.notes.push(note.into());
            }
        }
    }
    let is_theirs = metadata.get("author").is_some_and(|author| author == "Ultralytics");
    if is_theirs && metadata.get("task").is_some_and(|task| task == "classify") {
        // Pixels from 0 to 1, the shorter side at the size of the input.
        let usual = Preprocessing::usual(channels, [height, width], height.min(width));
        told.preprocessing = Some(Preprocessing { mean: vec![0.0; channels], std: vec![1.0; channels], ..usual });
    }
    told
}

/// The values of a Python dict from numbers to names: `{0: 'cat', 1: "it's"}`; of a list: `['cat']`; or of their JSON.
fn names(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let (inside, keys) = match text.strip_prefix('{') {
        Some(rest) => (rest.strip_suffix('}')?, true),
        None => (text.strip_prefix('[')?.strip_suffix(']')?, false),
    };
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    let mut rest = inside.trim_start();
    while !rest.is_empty() {
        let number = if keys {
            let (key, after) = rest.split_once(':')?;
            rest = after.trim_start();
            key.trim().trim_matches(['"', '\'']).parse().ok()?
        } else {
            found.len()
        };
        let (name, after) = literal(rest)?;
        found.insert(number, name).is_none().then_some(())?;
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    // Numbered from 0 without gaps.
    found.keys().enumerate().all(|(i, key)| i == *key).then(|| found.into_values().collect())
}

/// A string literal of Python or JSON at the start of a text, and what follows it.
fn literal(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, c)| matches!(c, '\'' | '"'))?;
    let mut name = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((name, text.get(at + c.len_utf8()..)?)),
            '\\' => {
                let (_, escape) = chars.next()?;
                let digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                name.push(match escape {
                    _ if digits > 0 => {
                        let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
                    }
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    c => c,
                });
            }
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> Told {
        let metadata = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        read(&metadata, [3, 8, 8])
    }

    #[test]
    fn names_are_read_as_python_writes_them() {
        let read = |text: &str| names(text);
        let expected = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(r#"{0: 'cat', 1: "it's", 2: 'back\\slash'}"#), expected(&["cat", "it's", "back\\slash"]));
        assert_eq!(read(r"{0: 'gr\xf6\u00dfe, line\n', 1: '\U0001f408'}"), expected(&["größe, line\n", "🐈"]));
        assert_eq!(read(r#"["cat", "dog: it"]"#), expected(&["cat", "dog: it"]));
        assert_eq!(read(r#"{"1": "b", "0": "a"}"#), expected(&["a", "b"]));
        assert_eq!(read("{}"), expected(&[]));
        for wrong in
            ["", "cat", "{0: cat}", "{0: 'cat'", "{0: 'cat' 1: 'dog'}", "{1: 'gap'}", "{0: 'a', 0: 'b'}", r"{0: '\x"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_words_of_others_are_understood() {
        let found = told(&[("author", "Ultralytics"), ("task", "classify"), ("names", "{0: 'a'}")]);
        assert_eq!(found.classes, Some(vec!["a".to_owned()]));
        let preprocessing = found.preprocessing.unwrap();
        assert_eq!((preprocessing.mean, preprocessing.std, preprocessing.resize), (vec![0.0; 3], vec![1.0; 3], 8));
        assert!(told(&[]).preprocessing.is_none());
        assert_eq!(told(&[("names", "a, b")]).notes.len(), 1);
        assert_eq!(told(&[("dyconv", "{}")]).notes.len(), 1);
    }
}
