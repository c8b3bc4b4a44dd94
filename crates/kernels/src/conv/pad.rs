//! Zero-padding of the input.
#![allow(unsafe_code, reason = "threads write rows of one map, through a pointer")]

use crate::exec::Exec;
use crate::threads::share;

/// Copies a feature map `[H, W, C]` into the middle of a larger, zero-filled one.
pub(super) fn pad(exec: Exec<'_>, [h, w, c]: [usize; 3], [top, left]: [usize; 2], x: &[f32], to: &mut [f32]) {
    let (rows, row) = (h + 2 * top, (w + 2 * left) * c);
    let out = Out(to[..rows * row].as_mut_ptr());
    let parts = exec.pool.threads();
    exec.pool.run(parts, &|part| {
        let out = &out;
        for y in share(rows, part, parts) {
            // SAFETY: row `y` lies inside `to`, and no other part has it.
            let to = unsafe { std::slice::from_raw_parts_mut(out.0.add(y * row), row) };
            match y.checked_sub(top).filter(|y| *y < h) {
                None => to.fill(0.0),
                Some(y) => {
                    to[..left * c].fill(0.0);
                    to[left * c..][..w * c].copy_from_slice(&x[y * w * c..][..w * c]);
                    to[(left + w) * c..].fill(0.0);
                }
            }
        }
    });
}

/// An output that several threads write.
struct Out(*mut f32);

// SAFETY: each thread writes its own part.
unsafe impl Sync for Out {}
