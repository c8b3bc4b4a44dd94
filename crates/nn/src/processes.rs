//! Several processes that share each batch: batch norms on the CPU add up their statistics over all of them.
//!
//! This is one setting of the whole process, because its counterpart is: the processes run in step, and each sum is one call of all
//! of them. A test of one process never touches it.

use std::sync::OnceLock;

use dyconv_kernels::train::AddUp;

static ADD_UP: OnceLock<AddUp> = OnceLock::new();

/// From now on batch norms in training on the CPU normalise by the batch of all processes; `add_up` replaces each number by its
/// sum over the processes, which all call it in the same order. The gradients in weights stay sums over this process's
/// samples.
///
/// # Panics
/// When it was called before.
pub fn share_batches(add_up: AddUp) {
    assert!(ADD_UP.set(add_up).is_ok(), "batches are shared already");
}

pub(crate) fn add_up() -> Option<AddUp> {
    ADD_UP.get().copied()
}

/// The sum of a number over all processes.
pub(crate) fn total(own: f64) -> f64 {
    let mut sum = [own];
    if let Some(add_up) = add_up() {
        add_up(&mut sum);
    }
    sum[0]
}
