//! "Did you mean": the known word nearest to an unknown one.

/// The candidate nearest to `word` by edit distance; only the first hundred characters of a long word count.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.char_indices().nth(100).map_or(word, |(end, _)| &word[..end]);
    candidates.into_iter().min_by_key(|c| strsim::damerau_levenshtein(word, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let gates = ["sigmoid", "softmax"];
        assert_eq!(suggest("softmx", gates), Some("softmax"));
        assert_eq!(suggest("sgimoid", gates), Some("sigmoid"));
        assert_eq!(suggest(&"é".repeat(1 << 20), gates), Some("sigmoid"));
        assert_eq!(suggest("softmax", []), None);
    }
}
