//! Matrix products on strided views.
//!
//! The `gemm` crate computes most products. The exception is a long transposed right matrix with a left matrix of few
//! rows, as in the gradients of kernels with few output channels: there `gemm` would transpose the larger of both for
//! little arithmetic, and [`gemm_nt`] is faster. Products whose right matrix is produced in the order in which it is
//! read use [`strip`] directly.

mod gemm_nt;
mod tile;
mod view;

pub(crate) use tile::{DEPTH, Strip, panel_width, strip};
pub(crate) use view::View;

use dyconv_simd::Isa;

/// `to` (+)= a · b; the rows of `to` are `row_step` apart.
pub(crate) fn gemm(isa: Isa, to: &mut [f32], row_step: usize, add: bool, a: View<'_>, b: View<'_>) {
    assert!((a.rows - 1) * row_step + b.columns <= to.len(), "the result inside its slice");
    #[allow(unsafe_code, reason = "the product of another crate takes pointers")]
    // SAFETY: the assertion above keeps every written element inside `to`, which is borrowed alone.
    unsafe {
        gemm_at(isa, to.as_mut_ptr(), row_step, add, a, b);
    }
}

/// Like [`gemm`], but the destination is a pointer.
///
/// # Safety
/// Rows of `b.columns` values, `row_step ≥ b.columns` apart, `a.rows` of them from `to` on, must be valid for reads and
/// writes, and nobody else may read or write them meanwhile. If nothing is added, they need not be initialized.
#[allow(unsafe_code, reason = "the product of another crate takes pointers")]
pub(crate) unsafe fn gemm_at(isa: Isa, to: *mut f32, row_step: usize, add: bool, a: View<'_>, b: View<'_>) {
    assert!(a.columns == b.rows && (row_step >= b.columns || a.rows == 1), "matrices that can be multiplied");
    if gemm_nt::pays(a, b) {
        // SAFETY: by the caller's promise.
        unsafe { gemm_nt::gemm_nt(isa, to, row_step, add, a, b) };
        return;
    }
    // SAFETY: the views were checked against their slices when they were made; the caller vouches for `to`.
    unsafe {
        ::gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            to,
            1,
            row_step as isize,
            add,
            a.data.as_ptr(),
            a.column_step as isize,
            a.row_step as isize,
            b.data.as_ptr(),
            b.column_step as isize,
            b.row_step as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            ::gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// Compared with a plain loop: all layouts, sizes around the tiles, panels and blocks, results surrounded by other
    /// values.
    #[test]
    fn products_of_any_size_and_layout() {
        let sizes = [1, 2, 13, 14, 15, 16, 17, 31, 33, 50, 193, 530];
        for (i, [rows, depth, columns]) in
            (0..160).map(|i| [i, i / 3 + i * 5, i / 7 + i * 11].map(|j| sizes[j % 12])).enumerate()
        {
            let (a, b) = (noise(rows * (depth + 3) + depth, i), noise(depth * (columns + 5) + columns, i + 1));
            let a_views = [View::new(&a, rows, depth, depth + 3), View::new(&a, depth, rows, rows).t()];
            let b_views = [View::new(&b, depth, columns, columns + 5), View::new(&b, columns, depth, depth).t()];
            for (isa, add) in Isa::available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
                let (a, b) = (a_views[i % 2], b_views[i / 2 % 2]);
                let (step, before) = (columns + 2, noise(rows * (columns + 2), i + 2));
                let mut to = before.clone();
                gemm(isa, &mut to[..(rows - 1) * step + columns], step, add, a, b);
                for (at, (found, before)) in to.iter().zip(&before).enumerate() {
                    let (row, column) = (at / step, at % step);
                    let mut expected = f64::from(*before);
                    if column < columns {
                        let value =
                            |v: View<'_>, r: usize, c: usize| f64::from(v.data[r * v.row_step + c * v.column_step]);
                        let sum: f64 = (0..depth).map(|d| value(a, row, d) * value(b, d, column)).sum();
                        expected = sum + if add { expected } else { 0.0 };
                    }
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error < 1e-4, "{} {rows}x{depth}x{columns} {add} [{row}, {column}]: {error}", isa.name());
                }
            }
        }
    }
}
