//! Standard output, progress, and how numbers are written.

use std::io::{self, IsTerminal, Write};

use dyconv::data::Broken;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Writes results to standard output. A reader that stopped listening (`| head`) is a normal end.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

/// Writes a value as indented JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// A bar on standard error, or `None` where nobody watches.
pub fn bar(length: usize, template: &str) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    Some(ProgressBar::new(length as u64).with_style(style.progress_chars("━╸─")))
}

/// Does work that tells how much of `length` is done, with a bar while it lasts where somebody watches.
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

/// Says which images were left out.
pub fn skipped(broken: &[Broken]) {
    broken.iter().for_each(|image| eprintln!("skipped: {}", image.reason));
}

/// Threads to compute with: as many as asked for, or one per processor.
pub fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// `12,345`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = (0..digits.len().div_ceil(3))
        .rev()
        .map(|g| {
            let end = digits.len() - 3 * g;
            &digits[end.saturating_sub(3)..end]
        })
        .collect();
    groups.join(",")
}

/// A share as percent with two digits.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 7, 999, 1_000, 45_321_007].map(thousands), ["0", "7", "999", "1,000", "45,321,007"]);
    }
}
