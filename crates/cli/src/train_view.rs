//! Progress of a running training: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use dyconv_train::{Epoch, Event, Recipe, Step, Validation};
use indicatif::ProgressBar;

use crate::output::{bar, note_above, percent};

/// Interval of progress lines during a long epoch without a terminal.
const EVERY: Duration = Duration::from_secs(60);

pub struct View {
    epochs: usize,
    /// Whether to show the temperature.
    dynamic: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    /// Time and iteration at which this process started.
    begun: (Instant, usize),
    told: Instant,
    /// Result of the latest epoch.
    validation: Validation,
    /// Estimated remaining time, as of the latest step.
    left: String,
}

impl View {
    pub fn new(recipe: &Recipe, dynamic: bool, quiet: bool) -> Self {
        let bar = if quiet { None } else { bar(0, "{bar:30} {pos}/{len}  {msg}") };
        let now = Instant::now();
        Self {
            epochs: recipe.train.epochs,
            dynamic,
            quiet,
            bar,
            begun: (now, 0),
            told: now,
            validation: Validation::default(),
            left: String::new(),
        }
    }

    pub fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Resumed { step, total } => {
                self.begun.1 = *step;
                self.line(&format!("resumed after iteration {step} of {total}"));
            }
            Event::Step { step, total } => self.step(step, *total),
            Event::Epoch(epoch) => {
                self.validation = epoch.validation;
                self.line(&self.epoch_line(epoch));
            }
            Event::Broken(broken) => self.warn(&format!("skipped: {}", broken.reason)),
            Event::Warning(text) => self.warn(&format!("warning: {text}")),
        }
    }

    fn step(&mut self, step: &Step, total: usize) {
        let done = step.step.saturating_sub(self.begun.1).max(1);
        let seconds = self.begun.0.elapsed().as_secs_f64() / done as f64 * (total - step.step) as f64;
        self.left = format!("{} left", time(seconds));
        let text = || {
            let score = score(&self.validation);
            let loss = loss(step.loss, &self.validation);
            format!(
                "epoch {}/{}  loss {loss}{score}{}  {:.0} images/s  {}",
                step.epoch,
                self.epochs,
                self.tau(step.tau),
                step.time.images_per_second,
                self.left
            )
        };
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(step.step as u64);
            bar.set_message(text());
        } else if self.told.elapsed() >= EVERY {
            self.line(&format!("iteration {}/{total}  {}", step.step, text()));
            self.told = Instant::now();
        }
    }

    fn epoch_line(&self, e: &Epoch) -> String {
        let width = self.epochs.to_string().len();
        let score = score(&e.validation);
        let loss = loss(e.loss, &e.validation);
        format!(
            "epoch {:>width$}/{}  loss {loss}{score}  lr {:.5}{}  {:>5.0} images/s  waited {:.1} %  {}",
            e.epoch,
            self.epochs,
            e.lr,
            self.tau(e.tau),
            e.time.images_per_second,
            100.0 * e.time.waited,
            self.left
        )
    }

    fn tau(&self, tau: f32) -> String {
        if self.dynamic { format!("  τ {tau:>5.2}") } else { String::new() }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// Prints a line, even with `--quiet`.
    fn warn(&self, text: &str) {
        note_above(self.bar.as_ref(), text);
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The score on the held-out images as text.
fn score(v: &Validation) -> String {
    let accuracy = v.accuracy.map(|a| format!("  accuracy {:>8}", percent(a)));
    accuracy.or(v.ap.map(|ap| format!("  AP {:>5.1}", 100.0 * ap))).unwrap_or_default()
}

/// A loss; heat-map losses are small and need more digits.
fn loss(loss: f32, v: &Validation) -> String {
    if v.val_loss.is_some() { format!("{loss:.6}") } else { format!("{loss:.4}") }
}

/// `2 h 05 min`, `3 min 20 s`, `7 s`.
pub fn time(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_short() {
        assert_eq!([7.4, 200.0, 7500.0].map(time), ["7 s", "3 min 20 s", "2 h 05 min"]);
    }
}
