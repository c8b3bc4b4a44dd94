//! What a run reports.

use dyconv_data::Broken;

use crate::journal::{Epoch, Step};

/// What is reported to the observer of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many iterations of a run were done before.
    Resumed {
        /// Iterations done.
        step: usize,
        /// Iterations of the whole run.
        total: usize,
    },
    /// An iteration is done.
    Step {
        /// Its numbers.
        step: &'a Step,
        /// Iterations of the whole run.
        total: usize,
    },
    /// An epoch is done and everything is written.
    Epoch(&'a Epoch),
    /// An image cannot be read and is skipped from now on.
    Broken(&'a Broken),
    /// Something that a person should know.
    Warning(String),
}
