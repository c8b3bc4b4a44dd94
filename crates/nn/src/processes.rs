//! Data parallel training in several processes: batch norms on the CPU all-reduce their statistics.
//!
//! This is one setting of the whole process, because its counterpart is: the processes run in step, and each sum is one call of all
//! of them. A test of one process never touches it.

use std::sync::OnceLock;

use dyconv_train_kernels::AllReduce;

static ALL_REDUCE: OnceLock<AllReduce> = OnceLock::new();

/// Synchronises batch norms: in training on the CPU they normalise by the batch of all processes. `all_reduce` replaces each number by its
/// sum over the processes, which all call it in the same order. The gradients in weights stay sums over this process's
/// samples.
///
/// # Panics
/// When it was called before.
pub fn enable_sync_batch_norm(all_reduce: AllReduce) {
    assert!(ALL_REDUCE.set(all_reduce).is_ok(), "batch norms are synchronised already");
}

pub(crate) fn all_reduce() -> Option<AllReduce> {
    ALL_REDUCE.get().copied()
}

/// The sum of a number over all processes.
pub(crate) fn total(own: f64) -> f64 {
    let mut sum = [own];
    if let Some(all_reduce) = all_reduce() {
        all_reduce(&mut sum);
    }
    sum[0]
}
