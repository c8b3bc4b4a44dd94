//! Computes a · b as the transpose of bᵀ · aᵀ, if the rows of a and the columns of b are contiguous.
//!
//! bᵀ is read in place, value by value; aᵀ is packed into panels one or two vectors wide, a block of rows at a time.
//! Thus only the smaller matrix and the result are transposed.
#![allow(unsafe_code, reason = "reads and writes through pointers whose range the view or the caller vouches for")]

use std::cell::Cell;

use dyconv_simd::{Buffer, Isa, LANES, Lanes, dispatch, lanes_mut};

use super::tile::{DEPTH, Strip, panel_width, strip};
use super::view::View;

/// Maximum number of rows of a for which this was measured to be faster.
const MOST: usize = 128;

/// Whether the product should be computed here.
pub(super) fn pays(a: View<'_>, b: View<'_>) -> bool {
    let transposed = a.rows * a.columns + 2 * a.rows * b.columns;
    a.is_plain() && !b.is_plain() && a.rows <= MOST && transposed < b.rows * b.columns
}

thread_local! {
    /// Panels of aᵀ, and the result before it is transposed.
    static SCRATCH: Cell<[Buffer<f32>; 2]> = const { Cell::new([Buffer::new(), Buffer::new()]) };
}

/// `to` (+)= a · b.
///
/// # Safety
/// As for [`super::gemm_at`].
pub(super) unsafe fn gemm_nt(isa: Isa, to: *mut f32, row_step: usize, add: bool, a: View<'_>, b: View<'_>) {
    let [mut panels, mut result] = SCRATCH.take();
    let (rows, columns, width) = (b.columns, a.rows, panel_width(isa));
    let sums = result.ensure_len(rows * columns);
    let left = b.t();
    for first in (0..a.columns).step_by(DEPTH) {
        let depth = DEPTH.min(a.columns - first);
        let panels = panels.ensure_len(depth * columns.next_multiple_of(LANES));
        turn(isa, a, first, depth, width, panels);
        for column in (0..columns).step_by(width) {
            let count = width.min(columns - column);
            let vectors = count.div_ceil(LANES);
            let s = Strip {
                rows,
                depth,
                a_steps: left.steps(),
                b_step: vectors * LANES,
                to_step: columns,
                last: count - (vectors - 1) * LANES,
                add: first > 0,
            };
            let to = sums[column..].as_mut_ptr();
            // SAFETY: `left` lies inside its slice, the panel holds `depth` rows of whole vectors, and the sums have room for all
            // rows of `columns` values.
            unsafe { strip(isa, s, vectors, left.at(0, first), panels[column * depth..].as_ptr(), to) };
        }
    }
    let sums = View::new(sums, rows, columns, columns);
    // SAFETY: by the caller's promise.
    unsafe { add_transposed(isa, sums, to, row_step, add) };
    SCRATCH.set([panels, result]);
}

/// Packs the columns `first..first + depth` of a as rows of panels, with zeros if the last panel is wider than the
/// rest.
fn turn(isa: Isa, a: View<'_>, first: usize, depth: usize, width: usize, to: &mut [f32]) {
    dispatch!(isa, turn_body(a: View<'_>, first: usize, depth: usize, width: usize, to: &mut [f32]));
}

#[inline(always)]
fn turn_body<L: Lanes>(l: L, a: View<'_>, first: usize, depth: usize, width: usize, to: &mut [f32]) {
    for row in (0..a.rows).step_by(LANES) {
        let panel = row / width * width;
        let step = width.min((a.rows - panel).next_multiple_of(LANES));
        let to = &mut to[panel * depth + row - panel..];
        for i in (0..depth).step_by(LANES) {
            let size = [LANES.min(a.rows - row), LANES.min(depth - i)];
            for (j, v) in block(l, a, [row, first + i], size).into_iter().enumerate().take(size[1]) {
                l.store(v, lanes_mut(to, (i + j) * step));
            }
        }
    }
}

/// Transposes up to sixteen rows and columns of a plain view.
#[inline(always)]
fn block<L: Lanes>(l: L, from: View<'_>, [row, column]: [usize; 2], [rows, columns]: [usize; 2]) -> [L::V; LANES] {
    let mut block = [l.splat(0.0); LANES];
    for (j, v) in block.iter_mut().enumerate().take(rows) {
        let from = &from.data[(row + j) * from.row_step + column..][..columns];
        *v = match from.try_into() {
            Ok(whole) => l.load(whole),
            Err(_) => l.load_partial(from),
        };
    }
    l.transpose(block)
}

/// `to` (+)= the transpose of `from`, rows of `to` `row_step` apart.
///
/// # Safety
/// `from.columns` rows of `from.rows` values from `to` on are valid for reads and writes, and nobody else reads or writes
/// them. If nothing is added, they need not be initialized.
unsafe fn add_transposed(isa: Isa, from: View<'_>, to: *mut f32, row_step: usize, add: bool) {
    dispatch!(isa, add_transposed_body(from: View<'_>, to: *mut f32, row_step: usize, add: bool));
}

#[inline(always)]
fn add_transposed_body<L: Lanes>(l: L, from: View<'_>, to: *mut f32, row_step: usize, add: bool) {
    for row in (0..from.rows).step_by(LANES) {
        for column in (0..from.columns).step_by(LANES) {
            let size = [LANES.min(from.rows - row), LANES.min(from.columns - column)];
            for (j, v) in block(l, from, [row, column], size).into_iter().enumerate().take(size[1]) {
                let to = to.wrapping_add((column + j) * row_step + row);
                // SAFETY: row `column + j` of the result has `from.rows` values, by the caller's promise.
                unsafe {
                    let sum = if add { l.add(l.read_partial(to, size[0]), v) } else { v };
                    l.write_partial(sum, to, size[0]);
                }
            }
        }
    }
}
