//! Zero-padding of the input.
#![allow(unsafe_code, reason = "threads write rows of one map, through a pointer")]

use crate::exec::Exec;
use crate::threads::share;

/// A map to be copied into a larger one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded {
    /// `[H, W, C]`
    pub(super) map: [usize; 3],
    /// Distance in values between its pixels.
    pub(super) step: usize,
    /// Rows above and columns to the left of it.
    pub(super) begin: [usize; 2],
    /// Rows and columns of the larger map.
    pub(super) whole: [usize; 2],
}

/// Copies a feature map into a larger, zero-filled one.
pub(super) fn pad(exec: Exec<'_>, map: Padded, x: &[f32], to: &mut [f32]) {
    let Padded { map: [h, w, c], step, begin: [top, left], whole } = map;
    let (rows, row) = (whole[0], whole[1] * c);
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
                    let inside = &mut to[left * c..][..w * c];
                    if step == c {
                        inside.copy_from_slice(&x[y * w * c..][..w * c]);
                    } else {
                        for (i, to) in inside.chunks_exact_mut(c).enumerate() {
                            to.copy_from_slice(&x[(y * w + i) * step..][..c]);
                        }
                    }
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
