//! Reads JSON files of records, with errors that name the record: parsers report a line and a column, but such files
//! are a single line of many megabytes.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::DataError;
use crate::regular;

/// The structure of a file of records.
pub(super) struct Form {
    /// The first character of the file: `{` or `[`.
    pub begins: u8,
    /// The error for a file that begins differently.
    pub otherwise: &'static str,
    /// What was expected, for a document without the required lists.
    pub expected: &'static str,
    /// Number of open brackets within a record.
    pub depth: usize,
    /// Names of the lists, and the name for one of their records; the name of the top-level list is empty.
    pub lists: &'static [(&'static str, &'static str)],
    /// Whether records are named by their one-based number instead of their `id`.
    pub by_number: bool,
}

/// Reads a file; a byte order mark is skipped.
///
/// # Errors
/// Names the file, the record and the field.
pub(super) fn read<T: DeserializeOwned>(path: &Path, form: &Form) -> Result<T, DataError> {
    let bytes = content(path, form)?;
    let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|e| DataError::at(path, explain(text, &e, form)))
}

const MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes of a file; reading stops early if its beginning shows that it is something else.
fn content(path: &Path, form: &Form) -> Result<Vec<u8>, DataError> {
    const BEGINNING: u64 = 64;
    let unreadable = |e: std::io::Error| DataError::at(path, format!("cannot be read: {e}"));
    let mut file = regular::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(BEGINNING).read_to_end(&mut bytes).map_err(unreadable)?;
    let wrong = match bytes[..] {
        [] => Some("is empty".to_owned()),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("is UTF-16 text, expected UTF-8: save it as that".to_owned()),
        [0x1f, 0x8b, ..] => Some("is compressed by gzip: unpack it first".to_owned()),
        [b'P', b'K', 3, 4, ..] => Some("is a ZIP archive: unpack it first".to_owned()),
        _ => {
            let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
            match text.iter().find(|b| !b.is_ascii_whitespace()) {
                Some(first) if *first == form.begins => None,
                Some(b'{' | b'[') => Some(form.otherwise.to_owned()),
                Some(b'"' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => Some(format!("is no {}", form.expected)),
                Some(first) => Some(format!("is no JSON: begins with the byte {first:#04x}")),
                None => None,
            }
        }
    };
    if let Some(message) = wrong {
        return Err(DataError::at(path, message));
    }
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Describes the error and the record it is in.
fn explain(text: &[u8], error: &serde_json::Error, form: &Form) -> String {
    let at = position(text, error);
    let place = Place::find(text, at, form);
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    match error.classify() {
        Category::Data => match place.filter(|place| !place.over) {
            Some(place) => format!("{}: {said}", place.field()),
            None => format!("is no {}: {said}", form.expected),
        },
        Category::Syntax | Category::Eof | Category::Io => {
            let place = place.map_or(String::new(), |place| {
                format!("; {}{}", if place.over { "after " } else { "" }, place.field())
            });
            let position = format!("line {line}, column {column}");
            match word(text, at).filter(|_| error.is_syntax()) {
                Some(word) => format!("{word} is no JSON{place} ({position}): write a number, or null for none"),
                None => format!("is no whole JSON: {said}{place} ({position})"),
            }
        }
    }
}

/// Index of the byte at which the parser failed.
fn position(text: &[u8], error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive(|b| *b == b'\n');
    let start: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (start + error.column()).saturating_sub(1).min(text.len().saturating_sub(1))
}

/// The bare word in the place of a value, such as `NaN` or `-Infinity`, which some writers use for numbers.
fn word(text: &[u8], at: usize) -> Option<&str> {
    const LONGEST: usize = 20;
    let part = |b: &u8| b.is_ascii_alphabetic() || matches!(b, b'-' | b'+');
    let before = text[..at].iter().rev().take_while(|b| part(b)).count();
    let from = text[at..].iter().take_while(|b| part(b)).count();
    let word = std::str::from_utf8(&text[at - before..at + from]).ok()?;
    let value = text[..at - before].trim_ascii_end().last().is_none_or(|b| b"[,:".contains(b));
    let known = ["null", "true", "false"].contains(&word);
    (word.contains(|c: char| c.is_ascii_alphabetic()) && word.len() <= LONGEST && value && !known).then_some(word)
}

/// A position in the document.
struct Place {
    /// E.g. `annotation 17`, or `annotation number 3` if it has no id.
    record: String,
    /// The field of the record.
    key: Option<String>,
    /// Whether the position is after the end of the record.
    over: bool,
}

impl Place {
    /// The record that contains the byte `at`, or the last one before it.
    fn find(text: &[u8], at: usize, form: &Form) -> Option<Self> {
        let (mut depth, mut list, mut number) = (0usize, &b""[..], 0usize);
        let (mut start, mut key, mut over) = (None, None, false);
        let mut i = 0;
        while i <= at && i < text.len() {
            match text[i] {
                b'"' => {
                    let end = string_end(text, i);
                    if is_key(text, end) {
                        let name = &text[i + 1..end - 1];
                        if depth == form.depth {
                            key = Some(name);
                        } else if depth + 2 == form.depth {
                            (list, number, start) = (name, 0, None);
                        }
                    }
                    i = end;
                    continue;
                }
                open @ (b'{' | b'[') => {
                    depth += 1;
                    if depth == form.depth && open == b'{' {
                        (start, key, over) = (Some(i), None, false);
                        number += 1;
                    }
                }
                b'}' | b']' => {
                    if depth == form.depth {
                        (key, over) = (None, i < at);
                    }
                    depth = depth.saturating_sub(1);
                }
                _ => {}
            }
            i += 1;
        }
        let kind = form.lists.iter().find(|(name, _)| name.as_bytes() == list)?.1;
        let start = start?;
        let record = match id(&text[start..]) {
            _ if form.by_number => format!("{kind} {number}"),
            Some(id) => format!("{kind} {id}"),
            None => format!("{kind} number {number}"),
        };
        Some(Self { record, key: key.map(|key| String::from_utf8_lossy(key).into_owned()), over })
    }

    /// Describes the record and its field.
    fn field(self) -> String {
        let Self { record, key, .. } = self;
        key.map_or_else(|| record.clone(), |key| format!("{record}: `{key}`"))
    }
}

/// The value of `id`, as written, of the record at the beginning of a text.
fn id(text: &[u8]) -> Option<String> {
    const LONGEST: usize = 40;
    let (mut depth, mut i) = (0usize, 0);
    while i < text.len() {
        match text[i] {
            b'"' => {
                let end = string_end(text, i);
                if depth == 1 && text[i..end] == *b"\"id\"" && is_key(text, end) {
                    let value = text[end..].trim_ascii_start()[1..].trim_ascii_start();
                    let last =
                        value.iter().position(|b| matches!(b, b',' | b'}' | b']' | b'\n')).unwrap_or(value.len());
                    let value = String::from_utf8_lossy(value[..last].trim_ascii());
                    let value = value.trim_matches('"');
                    return (!value.is_empty()).then(|| value.chars().take(LONGEST).collect());
                }
                i = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return None,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    None
}

/// The index after the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < text.len() {
        match text[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

/// Whether a colon follows.
fn is_key(text: &[u8], end: usize) -> bool {
    text[end..].trim_ascii_start().first() == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only errors are looked at")]
    struct Document {
        images: Vec<Record>,
        annotations: Vec<Record>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only errors are looked at")]
    struct Record {
        id: u64,
        size: f64,
    }

    const FORM: Form = Form {
        begins: b'{',
        otherwise: "is a list",
        expected: "document",
        depth: 3,
        lists: &[("images", "image"), ("annotations", "annotation")],
        by_number: false,
    };

    fn wrong(bytes: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read::<Document>(file.path(), &FORM).unwrap_err().message
    }

    fn annotations(records: &str) -> String {
        let text =
            format!(r#"{{"images": [{{"id": 3, "size": 1}}], "annotations": [{{"id": 7, "size": 2}}, {records}]}}"#);
        wrong(text.as_bytes())
    }

    #[test]
    fn words_that_are_no_json_are_told_with_their_record() {
        for (text, word) in
            [("NaN", "NaN"), ("-Infinity", "-Infinity"), ("nan", "nan"), ("None", "None"), ("-inf", "-inf")]
        {
            let message = annotations(&format!(r#"{{"x": [1, {{"id": 5}}, {text}], "size": 2, "id": 101}}"#));
            assert!(
                message.starts_with(&format!("{word} is no JSON; annotation 101: `x` (line 1, column ")),
                "{message}"
            );
        }
        let message = annotations("{\"size\": NaN}");
        assert!(message.starts_with("NaN is no JSON; annotation number 2: `size` ("), "{message}");
        let message = annotations("NaN");
        assert!(message.starts_with("NaN is no JSON; after annotation 7 ("), "{message}");
    }

    #[test]
    fn wrong_fields_are_told_with_their_record() {
        assert_eq!(annotations(r#"{"id": 8}"#), "annotation 8: missing field `size`");
        assert_eq!(annotations(r#"{"size": 8}"#), "annotation number 2: missing field `id`");
        assert_eq!(
            annotations(r#"{"size": "}{\"id\": 1\\", "id": "12"}"#),
            "annotation 12: `size`: invalid type: string \"}{\\\"id\\\": 1\\\\\", expected f64"
        );
        assert!(
            annotations(r#"{"id": 8, "size": 1e999}"#)
                .starts_with("is no whole JSON: number out of range; annotation 8: `size` (")
        );
        assert!(wrong(br#"{"images": []}"#).starts_with("is no document: missing field `annotations`"));
        assert!(
            wrong(br#"{"images": [{"id": 1, "size": 2}, {"id": 9}]}"#).starts_with("image 9: missing field `size`")
        );
    }

    #[test]
    fn files_that_are_something_else_are_told() {
        assert_eq!(wrong(b""), "is empty");
        assert_eq!(wrong(b"\xff\xfe{\0"), "is UTF-16 text, expected UTF-8: save it as that");
        assert_eq!(wrong(b"\x1f\x8b\x08"), "is compressed by gzip: unpack it first");
        assert_eq!(wrong(b"\xef\xbb\xbf []"), "is a list");
        assert_eq!(wrong(b"7"), "is no document");
        assert_eq!(wrong(&[0; 100]), "is no JSON: begins with the byte 0x00");
        assert!(wrong(b"\xef\xbb\xbf{").starts_with("is no whole JSON: EOF while parsing an object"));
        let cut = wrong(br#"{"images": [{"id": 1, "size": 2}, {"id": 9, "size": "#);
        assert!(cut.starts_with("is no whole JSON: EOF while parsing a value; image 9: `size` ("), "{cut}");
        let comma = annotations(r#"{"id": 8, "size": 1},"#);
        assert!(comma.contains("; after annotation 8 ("), "{comma}");
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_explained(text in r#"[\[\]{}",:\\NaidI17\n -]{0,80}"#) {
            let text = text.as_bytes();
            if let Err(error) = serde_json::from_slice::<Document>(text) {
                explain(text, &error, &FORM);
            }
        }
    }
}
