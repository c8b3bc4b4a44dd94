//! File size limits (`ulimit -f`): a write beyond the limit fails, and the program continues.

/// Handles SIGXFSZ, whose default action ends a process that writes beyond the limit. With any handler, the write
/// returns an error instead.
#[cfg(unix)]
pub fn survive_bounds() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    // If it cannot be handled, the default action remains.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn survive_bounds() {}
