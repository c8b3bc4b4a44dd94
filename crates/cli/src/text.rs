//! Makes foreign text (names of files and classes, messages about them) safe to print on a terminal.

#[cfg(any(test, feature = "train"))]
use std::path::Path;

/// Maximum number of characters of a name in a table or a message.
pub const NAME: usize = 60;

/// Whether a terminal acts on a character instead of showing it: control characters and bidirectional marks.
pub fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with everything escaped that a terminal would act on, except line feeds: `\u{1b}` for an escape.
pub fn printable(text: &str) -> String {
    replaced(text, |c| acts(c) && c != '\n')
}

/// The text with everything escaped that a terminal would act on, including line feeds.
pub fn escaped(text: &str) -> String {
    replaced(text, acts)
}

/// A name for a table or a message: escaped, and shortened in the middle if it is long.
pub fn name(text: &str) -> String {
    shortened(&escaped(text), NAME)
}

/// At most `most` characters: `…` replaces the middle of a longer text.
pub fn shortened(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let tail = most.saturating_sub(1) / 2;
    let head: String = text.chars().take(most.saturating_sub(1) - tail).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

/// A path quoted for a shell, for commands that a message suggests.
#[cfg(any(test, feature = "train"))]
pub fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    // Otherwise a command would parse it as an option.
    shell_word(&if text.starts_with('-') { format!("./{text}") } else { text.into_owned() })
}

/// A word of a command quoted for a shell; options and settings are not quoted.
#[cfg(any(test, feature = "train"))]
pub fn shell_word(word: &str) -> String {
    if word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.,/+:".contains(&b)) && !word.is_empty() {
        return word.to_owned();
    }
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into)
}

fn replaced(text: &str, escape: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if escape(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(printable("a\x1b[2Jb\nc\r\x07\u{9b}\u{202e}é"), "a\\u{1b}[2Jb\nc\\r\\u{7}\\u{9b}\\u{202e}é");
        assert_eq!(name("two\nlines\tof\0it"), "two\\nlines\\tof\\u{0}it");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghijk", 10), "abcde…hijk");
        assert_eq!(shortened("éééééé", 3), "é…é");
        assert_eq!([0, 1, 2].map(|most| shortened("abc", most)), ["…", "…", "a…"]);
        let long = name(&"x".repeat(3_000_000));
        assert_eq!(long.chars().count(), NAME);
    }

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        let quoted = |path: &str| shell(Path::new(path));
        assert_eq!(quoted("runs/digits-1"), "runs/digits-1");
        assert_eq!(quoted("my photos/it's"), "\"my photos/it's\"");
        assert_eq!(quoted("$HOME;x"), "'$HOME;x'");
        assert_eq!(quoted("-x"), "./-x");
        assert_eq!(quoted(""), "''");
    }
}
