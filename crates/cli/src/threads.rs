//! `--threads`: the requested and the actual number of threads.

use dyconv_engine::Pool;

use crate::output::note;

/// Parses a number of threads from 1 to [`Pool::MAX_THREADS`].
pub fn number(text: &str) -> Result<usize, String> {
    let most = Pool::MAX_THREADS;
    match text.parse() {
        Ok(threads) if (1..=most).contains(&threads) => Ok(threads),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

/// Warns if the system started fewer threads than requested.
pub fn tell(asked: usize, given: usize) {
    if given < asked.min(Pool::MAX_THREADS) {
        note(format_args!("note: the system gives {given} of {asked} threads; answers are the same"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_threads_are_bounded() {
        assert_eq!((number("1"), number("1024")), (Ok(1), Ok(1024)));
        for text in ["0", "1025", "100000", "-1", "two", "", "1.5", "99999999999999999999999"] {
            assert_eq!(number(text).unwrap_err(), "expected a whole number from 1 to 1024", "{text}");
        }
    }
}
