//! The events that a run reports.

use dyconv_data::Broken;

use crate::journal::{Epoch, Step};

/// An event, reported to the observer of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run was resumed.
    Resumed {
        /// Number of completed iterations.
        step: usize,
        /// Number of iterations of the whole run.
        total: usize,
    },
    /// An iteration is done.
    Step {
        /// Its metrics.
        step: &'a Step,
        /// Number of iterations of the whole run.
        total: usize,
    },
    /// An epoch is done and everything is written.
    Epoch(&'a Epoch),
    /// An image cannot be read and is skipped from now on.
    Broken(&'a Broken),
    /// A message for the user.
    Warning(String),
}
