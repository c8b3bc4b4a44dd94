//! Foreign names in our messages: whatever a file calls a thing, a message stays one short line. Also name lookup:
//! [patterns](matches()), and [suggestions](suggest()) for misspelled names.

mod nearest;
mod pattern;

pub use nearest::suggest;
pub use pattern::{MAX_PATTERN, matches};

/// Maximum number of characters of a name that are shown.
const NAME: usize = 80;

/// Maximum number of dimensions of a shape that are shown.
const DIMENSIONS: usize = 8;

/// A name made safe for a message: control characters and bidirectional marks are escaped, and only the beginning of a
/// long name is shown.
///
/// ```
/// use dyconv_graph::short_name;
///
/// assert_eq!(short_name("conv.weight"), "conv.weight");
/// assert_eq!(short_name("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
/// assert!(short_name(&"x".repeat(1 << 20)).ends_with("x… (1048576 bytes)"));
/// ```
pub fn short_name(name: &str) -> String {
    short_text(name, NAME)
}

/// Like [`short_name`], but shows at most `most` characters of the text; escapes count as they are written.
pub fn short_text(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut left = most;
    for c in text.chars() {
        let seen = if unseen(c) { c.escape_default().to_string() } else { c.to_string() };
        let Some(rest) = left.checked_sub(seen.chars().count()) else {
            return format!("{shown}… ({} bytes)", text.len());
        };
        left = rest;
        shown += &seen;
    }
    shown
}

/// Whether a terminal acts on the character instead of showing it.
fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A shape, shortened for a message.
pub(crate) fn short_shape(shape: &[usize]) -> String {
    if shape.len() <= DIMENSIONS {
        format!("{shape:?}")
    } else {
        let shown: Vec<String> = shape[..DIMENSIONS].iter().map(usize::to_string).collect();
        format!("[{}, … ({} dimensions)]", shown.join(", "), shape.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_kept() {
        for name in ["", "Straße", "犬", "naïve `quoted` \\ \"name\"", &"é".repeat(80)] {
            assert_eq!(short_name(name), name);
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        let hidden = "a\u{0}\u{7f}\u{9b}31m\r\u{202e}b\u{feff}";
        assert_eq!(short_name(hidden), r"a\u{0}\u{7f}\u{9b}31m\r\u{202e}b\u{feff}");
        let many = short_name(&"\u{1b}".repeat(1 << 20));
        assert!(many.starts_with(r"\u{1b}\u{1b}") && many.chars().count() <= 100, "{many}");
    }

    #[test]
    fn long_shapes_are_cut() {
        assert_eq!(short_shape(&[1, 2, 3]), "[1, 2, 3]");
        assert_eq!(short_shape(&[7; 100_000]), "[7, 7, 7, 7, 7, 7, 7, 7, … (100000 dimensions)]");
    }
}
