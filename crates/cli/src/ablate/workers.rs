//! Trains runs in separate processes: `dyconv train --resume FOLDER`, a few at a time.
//!
//! The result of a process depends only on its folder, so neither the number of processes nor their order matters. They
//! run in their own process groups: Ctrl-C reaches only this process, which forwards it once.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use tempfile::NamedTempFile;

use super::Run;
use crate::output::{bar, note_above, percent};
use crate::train_view::time;

/// Interval at which the processes are polled.
const EVERY: Duration = Duration::from_millis(50);
/// Environment variable that sets the number of threads of a process.
const THREADS: &str = "RAYON_NUM_THREADS";

/// A run that is being trained.
struct Worker {
    run: usize,
    child: Child,
    begun: Instant,
    words: Words,
    /// Whether the process has ended and was waited for.
    ended: bool,
}

/// Output of a process: a file, so that no thread is needed to read it.
struct Words {
    file: NamedTempFile,
    /// Name of its run.
    name: String,
    /// The start of an incomplete line.
    rest: Vec<u8>,
    /// The last error.
    last: String,
}

/// Trains the unfinished runs. Returns those that failed, with their last error. After `stop` is set, no more runs are
/// started.
pub fn train(
    runs: &[Run],
    data: &str,
    mut jobs: usize,
    quiet: bool,
    stop: &AtomicBool,
) -> anyhow::Result<BTreeMap<usize, String>> {
    let mut waiting: VecDeque<usize> = (0..runs.len()).filter(|i| !runs[*i].is_done()).collect();
    let mut view = View::new(runs, &waiting, quiet);
    let mut workers: Vec<Worker> = Vec::new();
    let mut failed = BTreeMap::new();
    let mut told = false;
    while !(workers.is_empty() && waiting.is_empty()) {
        if stop.load(Ordering::Relaxed) {
            waiting.clear();
            if !std::mem::replace(&mut told, true) {
                workers.iter_mut().for_each(|worker| interrupt(&mut worker.child));
            }
        }
        while workers.len() < jobs
            && let Some(run) = waiting.pop_front()
        {
            match Worker::start(run, &runs[run], data, jobs) {
                Ok(worker) => workers.push(worker),
                // For example, if the number of processes is limited.
                Err(error) if !workers.is_empty() => {
                    waiting.push_front(run);
                    jobs = workers.len();
                    view.say(&format!("note: {error:#}; going on with {jobs} at a time"));
                }
                Err(error) => return Err(error),
            }
        }
        sleep(EVERY);
        workers.iter_mut().for_each(|worker| worker.words.hand_on(&view));
        let mut i = 0;
        while i < workers.len() {
            match workers[i].child.try_wait().context("a run cannot be waited for")? {
                None => i += 1,
                Some(status) => {
                    let mut worker = workers.remove(i);
                    worker.ended = true;
                    worker.words.hand_on(&view);
                    let (run, begun, words) = (worker.run, worker.begun, std::mem::take(&mut worker.words.last));
                    if status.success() {
                        view.finished(run, begun.elapsed());
                    } else if !stop.load(Ordering::Relaxed) {
                        let reason = if words.is_empty() { format!("ended with {status}") } else { words };
                        view.say(&format!("{}: {reason}", runs[run].name));
                        failed.insert(run, reason);
                    }
                }
            }
        }
        view.update(&workers);
    }
    view.close();
    Ok(failed)
}

impl Worker {
    fn start(run: usize, of: &Run, data: &str, jobs: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's file cannot be found")?;
        let file = NamedTempFile::new().context("no temporary file can be made for what a run says")?;
        let stderr = file.reopen().context("the temporary file for what a run says cannot be opened")?;
        let mut command = Command::new(program);
        command.args(["train", "--data", data, "--resume"]).arg(&of.path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        if jobs > 1 && std::env::var_os(THREADS).is_none() {
            let processors = available_parallelism().map_or(1, usize::from);
            command.env(THREADS, (processors / jobs).max(1).to_string());
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().context("a run cannot be started")?;
        let words = Words { file, name: of.name.clone(), rest: Vec::new(), last: String::new() };
        Ok(Self { run, child, begun: Instant::now(), words, ended: false })
    }
}

/// If this process fails, its runs are stopped too.
impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            interrupt(&mut self.child);
        }
    }
}

impl Words {
    /// Forwards new output and remembers the last error.
    fn hand_on(&mut self, view: &View<'_>) {
        // Output that cannot be read is ignored.
        let _ = self.file.as_file_mut().read_to_end(&mut self.rest);
        let whole = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            if let Some(words) = line.strip_prefix("error: ") {
                words.clone_into(&mut self.last);
            } else if line.starts_with("warning: ") || line.starts_with("skipped: ") {
                view.say(&format!("{}: {line}", self.name));
            }
        }
    }
}

/// Requests that a process save and stop.
fn interrupt(child: &mut Child) {
    // The process may already have ended.
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT);
    #[cfg(not(unix))]
    let _ = child.kill();
}

/// Progress display.
struct View<'a> {
    runs: &'a [Run],
    quiet: bool,
    /// Counts epochs.
    bar: Option<ProgressBar>,
    begun: Instant,
    /// Number of epochs of each run when this process started, and now.
    epochs: Vec<(usize, usize)>,
    /// Number of finished runs.
    done: usize,
    drawn: Instant,
}

impl<'a> View<'a> {
    fn new(runs: &'a [Run], waiting: &VecDeque<usize>, quiet: bool) -> Self {
        let epochs: Vec<_> = runs.iter().map(Run::done).map(|n| (n, n)).collect();
        let total = runs.iter().map(|run| run.epochs).sum();
        let bar = if quiet || waiting.is_empty() { None } else { bar(total, "{bar:30} {pos}/{len} epochs  {msg}") };
        let (begun, done) = (Instant::now(), runs.len() - waiting.len());
        Self { runs, quiet, bar, begun, epochs, done, drawn: begun }
    }

    fn finished(&mut self, run: usize, took: Duration) {
        self.done += 1;
        self.epochs[run].1 = self.runs[run].done();
        let epochs = dyconv_train::epochs_done(&self.runs[run].path);
        let score = epochs.last().and_then(|e| e.validation.score()).map_or(String::new(), percent);
        let (all, width) = (self.runs.len(), self.runs.len().to_string().len());
        let took = time(took.as_secs_f64());
        let name = &self.runs[run].name;
        self.tell(&format!("[{:>width$}/{all}] {name}: {score} in {took}{}", self.done, self.left()));
    }

    /// `; 3 min 20 s left`, once an epoch is done.
    fn left(&self) -> String {
        let new: usize = self.epochs.iter().map(|(before, now)| now - before).sum();
        let missing: usize = self.runs.iter().zip(&self.epochs).map(|(run, e)| run.epochs.saturating_sub(e.1)).sum();
        if new == 0 || missing == 0 {
            return String::new();
        }
        format!("; {} left", time(self.begun.elapsed().as_secs_f64() / new as f64 * missing as f64))
    }

    fn update(&mut self, workers: &[Worker]) {
        let Some(bar) = self.bar.as_ref().filter(|_| self.drawn.elapsed() > Duration::from_millis(500)) else { return };
        self.drawn = Instant::now();
        for worker in workers {
            self.epochs[worker.run].1 = self.runs[worker.run].done();
        }
        bar.set_position(self.epochs.iter().map(|(_, now)| *now as u64).sum());
        let names: Vec<&str> = workers.iter().map(|w| self.runs[w.run].name.as_str()).collect();
        bar.set_message(format!("{}{}", names.join(", "), self.left()));
    }

    fn tell(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Prints a line, even with `--quiet`.
    fn say(&self, text: &str) {
        note_above(self.bar.as_ref(), text);
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
