//! Handling of Ctrl-C and of the signal that a cluster sends before it ends a process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use dyconv_train::TrainError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

/// Exit status of a process that was interrupted.
pub const STATUS: u8 = 130;

/// A flag that the first signal sets; the second signal ends the process at once.
pub fn flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Registered in this order, so that the signal that sets the flag does not see it set.
        register_conditional_shutdown(signal, i32::from(STATUS), Arc::clone(&flag))
            .and_then(|_| register(signal, Arc::clone(&flag)))
            .context("signals cannot be caught")?;
    }
    Ok(flag)
}

/// Work that was stopped on request and can be resumed; the message says how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// Whether an error only reports that the process was interrupted.
pub fn is(error: &anyhow::Error) -> bool {
    error.is::<Stopped>() || matches!(error.downcast_ref(), Some(TrainError::Interrupted { .. }))
}
