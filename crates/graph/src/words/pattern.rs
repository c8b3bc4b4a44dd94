//! Patterns for names, in which `*` matches any characters.

/// Longest pattern that [`matches`](fn@matches) accepts, in bytes: five times the longest name of a node.
pub const MAX_PATTERN: usize = 1000;

/// Whether `pattern`, in which `*` matches any characters, matches all of `text`. A pattern longer than [`MAX_PATTERN`]
/// bytes matches nothing.
///
/// ```text
/// from left to right, byte by byte: equal bytes are skipped; at a star, its position in both strings is stored;
/// otherwise the last star matches one more byte, and the rest of the pattern is retried from there
/// ```
///
/// Only the last star needs to be retried: whatever more an earlier star could match, the last one can match as well.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    if pattern.len() > MAX_PATTERN {
        return false;
    }
    let (mut p, mut t) = (0, 0);
    // Position after the last star, and the end of what it matches.
    let mut star = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                p += 1;
                star = Some((p, t));
            }
            (Some(byte), _) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((behind, taken))) => {
                p = behind;
                t = taken + 1;
                star = Some((behind, t));
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_match_anything() {
        assert!(matches("blocks.*.expand", "blocks.12.expand"));
        assert!(matches("*", "stem"));
        assert!(!matches("blocks.1.*", "blocks.12.expand"));
        assert!(!matches("blocks", "blocks.1"));
    }

    /// The definition, in exponential time: a star matches any prefix.
    fn naive(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((head, tail)) => text
                .strip_prefix(head)
                .is_some_and(|rest| (0..=rest.len()).any(|i| rest.is_char_boundary(i) && naive(tail, &rest[i..]))),
        }
    }

    proptest! {
        #[test]
        fn stars_match_as_defined(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), naive(&pattern, &text), "{} {}", pattern, text);
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let (stars, name) = ("*a".repeat(MAX_PATTERN / 2 - 1), "a".repeat(200_000));
        assert!(matches(&stars, &name) && !matches(&(stars + "*b"), &name));
        assert!(matches(&"*".repeat(MAX_PATTERN), "") && !matches(&"*".repeat(MAX_PATTERN + 1), ""));
    }
}
