//! `--classes`: names from a text file.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};

/// Reads class names, one per line.
pub fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    let name = path.display();
    let about = fs::metadata(path).with_context(|| format!("{name}: cannot be read"))?;
    ensure!(about.is_file(), "{name}: is a folder, a pipe or a device, expected a text file with one name per line");
    crate::memory::check(2 * about.len(), || format!("{name}: reading it"))?;
    let bytes = fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    names(bytes).map_err(|message| anyhow!("{name}: {message}"))
}

/// The lines of a text; empty lines at the end are dropped.
fn names(bytes: Vec<u8>) -> Result<Vec<String>, String> {
    let text = String::from_utf8(bytes).map_err(|_| "is no text in UTF-8, expected one name per line")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end_matches(['\n', '\r', ' ', '\t']);
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        Some(line) => Err(format!("line {} is empty, expected one name per line", line + 1)),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_are_lines() {
        let read = |text: &str| names(text.as_bytes().to_vec());
        let expected = Ok(vec!["cat".to_owned(), "hot dog".to_owned()]);
        assert_eq!(read("cat\nhot dog"), expected);
        assert_eq!(read("\u{feff}cat\r\nhot dog \r\n\r\n"), expected);
        assert_eq!(read("cat\n\ndog").unwrap_err(), "line 2 is empty, expected one name per line");
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        assert!(names(vec![b'a', 0xff]).unwrap_err().contains("UTF-8"));
    }
}
