//! Data-parallel training in several processes: batch norms on the CPU all-reduce their statistics.
//!
//! This is a setting of the whole process, because all processes run in lockstep: each sum is one all-reduce in which
//! all of them take part. Tests of a single process must not set it.

use std::sync::OnceLock;

use dyconv_train_kernels::AllReduce;

static ALL_REDUCE: OnceLock<AllReduce> = OnceLock::new();

/// Synchronizes batch norms: in training on the CPU they normalize by the batch of all processes. `all_reduce` replaces
/// each number by its sum over the processes, which must all call it in the same order. The gradients of weights remain
/// sums over the samples of this process.
///
/// # Panics
/// If called more than once.
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
