//! The log of a run: `metrics.jsonl`, and two views of it, `metrics.csv` and TensorBoard event files.
//!
//! `metrics.jsonl` is the source of truth: one line every few iterations and one per epoch. A resumed run truncates it
//! to the length recorded in its checkpoint and rebuilds the views from it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::attention::AttentionStats;
use crate::error::TrainError;
use crate::evaluate::Scores;
use crate::events;
use crate::files::{CSV, EVENTS, JOURNAL};
use crate::folder::RunFolder;

/// Metrics of the latest iterations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of completed iterations of the whole run.
    pub step: usize,
    /// Epoch, one-based.
    pub epoch: usize,
    /// Mean loss of the latest iterations of this epoch, at most `train.log_steps` of them.
    pub loss: f32,
    /// Learning rate.
    pub lr: f64,
    /// Temperature τ.
    pub tau: f32,
    /// The values that differ between two equal runs.
    pub time: Timing,
}

/// One pass over the training images and its evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of completed iterations of the whole run.
    pub step: usize,
    /// Epoch, one-based.
    pub epoch: usize,
    /// Mean loss over its iterations.
    pub loss: f32,
    /// Scores of the network on the validation part.
    #[serde(flatten)]
    pub validation: Validation,
    /// Learning rate of its last iteration.
    pub lr: f64,
    /// Temperature τ of its evaluation.
    pub tau: f32,
    /// Statistics of the routers of a dynamic network on the validation images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionStats>,
    /// The values that differ between two equal runs.
    pub time: Timing,
}

/// Scores of a network on the validation part; all are `None` if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Validation {
    /// Top-1 accuracy of a classifier, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// COCO's average precision of a keypoint network over the annotated boxes, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ap: Option<f64>,
    /// Mean loss of a keypoint network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
}

impl Validation {
    pub(crate) fn of(scores: &Scores) -> Self {
        match scores {
            Scores::Classes(scores) => Self { accuracy: scores.accuracy, ..Self::default() },
            Scores::Keypoints(scores) => Self { ap: scores.ap, val_loss: scores.loss, ..Self::default() },
        }
    }

    /// The number by which the best network is selected: accuracy, or average precision.
    pub fn score(&self) -> Option<f64> {
        self.accuracy.or(self.ap)
    }
}

/// The values that differ between two equal runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Unix time in seconds.
    pub unix: f64,
    /// Training images per second in this epoch, since it started or was resumed.
    pub images_per_second: f64,
    /// Fraction of that time spent waiting for images, 0 to 1.
    pub waited: f64,
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Line {
    Step(Step),
    Epoch(Epoch),
}

/// The open files.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: Log,
    csv: Log,
    events: Log,
    /// Whether the run trains a keypoint network.
    of_joints: bool,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
}

/// Columns of the table; a keypoint network has `ap,val_loss` in place of `accuracy`.
const COLUMNS: [&str; 3] = ["epoch,step,loss", "accuracy", "lr,tau,attention_entropy,images_per_second"];
const KEYPOINT_COLUMNS: &str = "ap,val_loss";

/// The completed epochs of the run in this folder; empty if there is no run. The run may still be training.
pub fn epochs_done(run: &Path) -> Vec<Epoch> {
    let text = std::fs::read(run.join(JOURNAL)).unwrap_or_default();
    // The last line may be incomplete.
    epochs(text.split(|b| *b == b'\n').map_while(|line| serde_json::from_slice(line).ok()))
}

/// Like [`epochs_done`], for a run whose files must be intact except for an incomplete last line.
///
/// # Errors
/// If `metrics.jsonl` cannot be read or is damaged.
pub(crate) fn read_epochs(run: &Path) -> Result<Vec<Epoch>, TrainError> {
    let path = run.join(JOURNAL);
    let text = text(&path)?;
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    Ok(epochs(lines(&path, &text[..whole])?))
}

/// The bytes of `metrics.jsonl`; empty if it does not exist yet.
fn text(path: &Path) -> Result<Vec<u8>, TrainError> {
    match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.map_err(|e| TrainError::read(path, e)),
    }
}

/// The lines of `metrics.jsonl`.
fn lines(path: &Path, text: &[u8]) -> Result<Vec<Line>, TrainError> {
    let lines = text.split_inclusive(|b| *b == b'\n').enumerate().map(|(i, line)| {
        serde_json::from_slice(line).map_err(|e| damaged(path, format!("line {} is no metrics ({e})", i + 1)))
    });
    lines.collect()
}

fn damaged(path: &Path, reason: String) -> TrainError {
    TrainError::DamagedMetrics { path: path.to_owned(), reason }
}

fn epochs(lines: impl IntoIterator<Item = Line>) -> Vec<Epoch> {
    let epochs = lines.into_iter().filter_map(|line| match line {
        Line::Epoch(epoch) => Some(epoch),
        Line::Step(_) => None,
    });
    epochs.collect()
}

/// The current Unix time in seconds.
pub(crate) fn unix() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Journal {
    /// Opens the files of a run, truncated to the first `bytes` of `metrics.jsonl`, and returns the lines in them.
    ///
    /// # Errors
    /// If a file cannot be opened, or `metrics.jsonl` is damaged.
    pub fn open(folder: &RunFolder, bytes: u64) -> Result<(Self, Vec<Line>), TrainError> {
        let path = folder.file(JOURNAL);
        let text = text(&path)?;
        let kept = usize::try_from(bytes).ok().and_then(|bytes| text.get(..bytes));
        let kept =
            kept.ok_or_else(|| damaged(&path, format!("is shorter than the {bytes} bytes that were written")))?;
        let lines = lines(&path, kept)?;
        let mut journal = Self {
            lines: Log::open(path.clone(), bytes)?,
            csv: Log::open(folder.file(CSV), 0)?,
            events: Log::open(folder.file(EVENTS), 0)?,
            of_joints: folder.of_keypoints(),
        };
        let [first, scores, last] = COLUMNS;
        let scores = if folder.of_keypoints() { KEYPOINT_COLUMNS } else { scores };
        journal.csv.append(format!("{first},{scores},{last}\n").as_bytes())?;
        let begun = lines.first().map_or_else(unix, |line| match line {
            Line::Step(Step { time, .. }) | Line::Epoch(Epoch { time, .. }) => time.unix,
        });
        journal.events.append(&events::header(begun))?;
        lines.iter().try_for_each(|line| journal.view(line))?;
        Ok((journal, lines))
    }

    /// The current length of `metrics.jsonl` in bytes.
    pub fn bytes(&mut self) -> Result<u64, TrainError> {
        self.lines.file.stream_position().map_err(|e| TrainError::write(&self.lines.path, e))
    }

    /// Adds a line.
    pub fn add(&mut self, line: &Line) -> Result<(), TrainError> {
        let text = serde_json::to_string(line).expect("plain values") + "\n";
        self.lines.append(text.as_bytes())?;
        self.view(line)
    }

    /// Syncs the file, so that what was added survives a power failure.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.lines.file.sync_all().map_err(|e| TrainError::write(&self.lines.path, e))
    }

    /// Adds a line to the views.
    fn view(&mut self, line: &Line) -> Result<(), TrainError> {
        let (time, step, values) = match line {
            Line::Step(s) => {
                (s.time, s.step, vec![("train/loss", f64::from(s.loss)), ("lr", s.lr), ("tau", f64::from(s.tau))])
            }
            Line::Epoch(e) => {
                let text = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
                let v = &e.validation;
                let scores = match self.of_joints {
                    true => format!("{},{}", text(v.ap), text(v.val_loss)),
                    false => text(v.accuracy),
                };
                let entropy = e.attention.as_ref().map(AttentionStats::entropy);
                let row = format!(
                    "{},{},{},{scores},{},{},{},{:.1}\n",
                    e.epoch,
                    e.step,
                    e.loss,
                    e.lr,
                    e.tau,
                    text(entropy),
                    e.time.images_per_second
                );
                self.csv.append(row.as_bytes())?;
                let loss = ("epoch/loss", f64::from(e.loss));
                let rate = ("epoch/images_per_second", e.time.images_per_second);
                let measured = [
                    ("val/accuracy", v.accuracy),
                    ("val/ap", v.ap),
                    ("val/loss", v.val_loss),
                    ("val/attention_entropy", entropy),
                ];
                let measured = measured.into_iter().filter_map(|(tag, value)| Some((tag, value?)));
                (e.time, e.step, [loss, rate].into_iter().chain(measured).collect())
            }
        };
        let values: Vec<_> = values.into_iter().map(|(tag, value)| (tag.to_owned(), value)).collect();
        self.events.append(&events::scalars(time.unix, step, &values))
    }
}

impl Log {
    /// Opens a file, truncated to `bytes`, for appending.
    fn open(path: PathBuf, bytes: u64) -> Result<Self, TrainError> {
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path).and_then(|mut file| {
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        });
        match opened {
            Ok(file) => Ok(Self { path, file }),
            Err(e) => Err(TrainError::write(&path, e)),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        self.file.write_all(bytes).map_err(|e| TrainError::write(&self.path, e))
    }
}
