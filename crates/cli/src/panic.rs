//! A panic is a bug in dyconv: it is reported in one line on standard error, with exit status 1.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use dyconv_data::in_decoder;

use crate::output::note;

/// The last report, so that a panic that occurs on many threads is reported once.
static SAID: Mutex<String> = Mutex::new(String::new());

/// Runs the program. A panic on any thread is reported in one line; on this thread it also ends the program with status
/// 1.
pub fn caught(work: impl FnOnce() -> ExitCode) -> ExitCode {
    set_hook(Box::new(tell));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(ExitCode::FAILURE)
}

fn tell(panic: &PanicHookInfo<'_>) {
    // A panic in an image decoder is a broken image, and is reported as such.
    if in_decoder() {
        return;
    }
    let place = panic.location().map_or_else(|| "somewhere".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
    let text = line(panic.payload(), &place);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if *said == text {
        return;
    }
    note(&text);
    *said = text;
    // With RUST_BACKTRACE=1, as in Rust's own message.
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        trace.to_string().lines().for_each(note);
    }
}

fn line(payload: &dyn Any, place: &str) -> String {
    let words = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    format!("error: a mistake in dyconv, please report it: {} ({place})", words.unwrap_or("a panic without words"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_with_its_words_and_place() {
        let start = "error: a mistake in dyconv, please report it: ";
        assert_eq!(line(&"no kernel", "src/a.rs:7"), format!("{start}no kernel (src/a.rs:7)"));
        assert_eq!(line(&"of 3 rows".to_owned(), "src/a.rs:7"), format!("{start}of 3 rows (src/a.rs:7)"));
        assert_eq!(line(&5u8, "src/a.rs:7"), format!("{start}a panic without words (src/a.rs:7)"));
    }
}
