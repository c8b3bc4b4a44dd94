//! A bound on the size of files (`ulimit -f`): the write that meets it fails, and the program goes on.

/// Handles the signal whose usual action ends a process that writes beyond the bound; with a handler, of any kind, the write
/// gives an error instead.
#[cfg(unix)]
pub fn survive_bounds() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    // Where it cannot be handled, the program ends as it did.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// There is no such bound.
#[cfg(not(unix))]
pub fn survive_bounds() {}
