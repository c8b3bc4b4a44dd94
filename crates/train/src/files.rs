//! The file names in a run folder.

/// Marks a folder as a run folder; holds the data that the run was started on.
pub(crate) const RUN: &str = "run.json";
/// The complete recipe.
pub(crate) const RECIPE: &str = "recipe.toml";
/// The graph of a network that is not one of our architectures.
pub(crate) const NETWORK: &str = "network.json";
/// The best network so far.
pub(crate) const MODEL: &str = "model.safetensors";
/// The scores of that network on the validation images.
pub(crate) const EVALUATION: &str = "evaluation.json";
pub(crate) const JOURNAL: &str = "metrics.jsonl";
pub(crate) const CSV: &str = "metrics.csv";
pub(crate) const EVENTS: &str = "events.out.tfevents.dyconv";
pub(crate) const REPORT: &str = "report.html";
/// The folder of the checkpoints.
pub(crate) const LAST: &str = "last";
