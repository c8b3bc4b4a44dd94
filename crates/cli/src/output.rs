//! Standard output, progress, and number formatting.
//!
//! Nothing here panics if standard output or standard error is closed or full: messages on standard error are dropped,
//! and results that cannot be written are an error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use dyconv_data::Broken;
pub use dyconv_data::thousands;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

#[cfg(feature = "train")]
pub use crate::text::shell;
use crate::text::{acts, printable, shortened};

/// Maximum number of characters of a line on standard error.
const LINE: usize = 2000;

/// Writes results to standard output, with terminal control characters escaped. A reader that closes the pipe (`|
/// head`) is not an error.
pub fn print(text: &str) -> anyhow::Result<()> {
    write(&printable(text))
}

/// Writes a value as indented JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    write(&(json(value)? + "\n"))
}

/// A value as indented JSON that is safe to print on a terminal.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    // JSON escapes some of these characters itself; the rest occur only in strings, and all have four hex digits.
    let acts = |c: char| acts(c) && c != '\n';
    if !text.contains(acts) {
        return Ok(text);
    }
    Ok(text.chars().map(|c| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect())
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Handles the result of a write to standard output: if the reader has closed the pipe, the process exits with status 0.
pub fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("standard output cannot be written"),
    }
}

/// Prints a line to standard error; if that is closed, the line is dropped.
pub fn note(text: impl Display) {
    let line = line(&text.to_string()) + "\n";
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Like [`note`], above the progress bar if there is one.
#[cfg(feature = "train")]
pub fn note_above(bar: Option<&ProgressBar>, text: impl Display) {
    match bar {
        Some(bar) => bar.println(line(&text.to_string())),
        None => note(text),
    }
}

/// The text as one line that is safe to print on a terminal.
fn line(text: &str) -> String {
    shortened(&printable(&text.replace('\n', " ")), LINE)
}

/// A progress bar on standard error, or `None` if that is not a terminal.
pub fn bar(length: usize, template: &str) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    Some(ProgressBar::new(length as u64).with_style(style.progress_chars("━╸─")))
}

/// Runs `work`, which reports how much of `length` is done, with a progress bar if standard error is a terminal.
pub fn with_bar<T>(length: usize, template: &str, work: impl FnOnce(&mut dyn FnMut(usize)) -> T) -> T {
    let bar = bar(length, template);
    let result = work(&mut |done| {
        if let Some(bar) = &bar {
            bar.set_position(done as u64);
        }
    });
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    result
}

/// Reports which images were skipped.
pub fn skipped(broken: &[Broken]) {
    broken.iter().for_each(|image| note(format_args!("skipped: {}", image.reason)));
}

/// Number of threads: as requested, or one per CPU.
pub fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// A fraction as a percentage with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("a\nerror: b\x1b[A"), "a error: b\\u{1b}[A");
        assert_eq!(line(&"x".repeat(5_000_000)).chars().count(), LINE);
    }

    #[test]
    fn json_has_no_control_characters_and_says_the_same() {
        let names = ["a\u{9b}2J\u{7f}", "\x1b[2J\n", "\u{202e}\u{2028}", "é"];
        let text = json(&names).unwrap();
        assert_eq!(printable(&text), text);
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), names);
    }
}
