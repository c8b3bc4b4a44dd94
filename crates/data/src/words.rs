//! Formats numbers and names in messages.

/// A count with its digits in groups of three: 1234567 as `1,234,567`.
pub fn thousands(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A name for display: at most `most` characters, without any that move the cursor or change the text direction.
pub(crate) fn shown(name: &str, most: usize) -> String {
    let unseen = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if i + 1 >= most && name.chars().nth(most).is_some() {
            out.push('…');
            break;
        }
        if unseen(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A list of names, at most the first ten: `a, b, c, …`.
pub(crate) fn listed(names: &[impl AsRef<str>]) -> String {
    const MOST: usize = 10;
    let mut list: Vec<String> = names.iter().take(MOST).map(|name| shown(name.as_ref(), 24)).collect();
    if names.len() > MOST {
        list.push("…".to_owned());
    }
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0u64, 7, 999, 1000, 1_234_567].map(thousands), ["0", "7", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn names_are_shown_short_and_without_control_characters() {
        assert_eq!(shown("cat", 5), "cat");
        assert_eq!(shown("caterpillar", 5), "cate…");
        assert_eq!(shown("caterpillar", 11), "caterpillar");
        assert_eq!(shown("\u{1b}[31mred\u{202e}\n", 60), "\\u{1b}[31mred\\u{202e}\\n");
        assert_eq!(shown(&"x".repeat(1 << 20), 24).chars().count(), 24);
        assert_eq!(listed(&["a"; 12]), "a, a, a, a, a, a, a, a, a, a, …");
        assert_eq!(listed(&["a", "b"]), "a, b");
    }
}
