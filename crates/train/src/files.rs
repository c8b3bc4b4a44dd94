//! The names of the files in the folder of a run.

/// What makes a folder a run folder: the data it was begun on.
pub(crate) const RUN: &str = "run.json";
/// The complete recipe.
pub(crate) const RECIPE: &str = "recipe.toml";
/// The best network so far.
pub(crate) const MODEL: &str = "model.safetensors";
/// How that network did on the held-out images.
pub(crate) const EVALUATION: &str = "evaluation.json";
pub(crate) const JOURNAL: &str = "metrics.jsonl";
pub(crate) const CSV: &str = "metrics.csv";
pub(crate) const EVENTS: &str = "events.out.tfevents.dyconv";
pub(crate) const REPORT: &str = "report.html";
/// The checkpoints.
pub(crate) const LAST: &str = "last";
