//! Matrix products on strided views.
//!
//! The `gemm` crate multiplies, but where a long right matrix is transposed and the left one has few rows, as in gradients of kernels
//! with few output channels: it then transposes the larger of both for little arithmetic, and [`turned`] is faster.
//! Products whose right matrix is made in the order in which it is read use [`strip`] itself.

mod tile;
mod turned;

pub(super) use tile::{Strip, strip};

use crate::Isa;
use crate::lanes::LANES;

/// Rows of a right matrix that are multiplied at a time.
pub(super) const DEPTH: usize = 256;

/// A matrix inside a slice; steps are distances between neighbouring elements, one of them 1.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> View<'a> {
    /// `[rows, columns]`, neighbouring columns side by side.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_step: usize) -> Self {
        assert!(rows > 0 && columns > 0 && (rows - 1) * row_step + columns <= data.len(), "a view inside its slice");
        Self { data, rows, columns, row_step, column_step: 1 }
    }

    /// Panics unless the matrix has `rows` rows.
    pub fn assert_rows(&self, rows: usize) {
        assert_eq!(self.rows, rows, "rows of a matrix");
    }

    /// Panics unless the matrix has `columns` columns.
    pub fn assert_columns(&self, columns: usize) {
        assert_eq!(self.columns, columns, "columns of a matrix");
    }

    /// The transposed matrix.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step, ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values from one row to the next, and from one column to the next.
    pub fn steps(&self) -> [usize; 2] {
        [self.row_step, self.column_step]
    }

    /// Where an element lies.
    pub fn at(&self, row: usize, column: usize) -> *const f32 {
        self.data[row * self.row_step + column * self.column_step..].as_ptr()
    }

    /// Whether neighbouring columns lie side by side.
    fn is_plain(&self) -> bool {
        self.column_step == 1
    }
}

/// `to` (+)= a · b, rows of `to` `row_step` apart.
pub(super) fn product(isa: Isa, to: &mut [f32], row_step: usize, add: bool, a: View<'_>, b: View<'_>) {
    assert!((a.rows - 1) * row_step + b.columns <= to.len(), "the result inside its slice");
    #[allow(unsafe_code, reason = "the product of another crate takes pointers")]
    // SAFETY: the assertion above keeps every written element inside `to`, which is borrowed alone.
    unsafe {
        product_at(isa, to.as_mut_ptr(), row_step, add, a, b);
    }
}

/// As [`product`], to a place given by a pointer.
///
/// # Safety
/// Rows of `b.columns` values, `row_step ≥ b.columns` apart, `a.rows` of them from `to` on, must be valid for reads and
/// writes, and nobody else may read or write them meanwhile. Where nothing is added, they need not be initialised.
#[allow(unsafe_code, reason = "the product of another crate takes pointers")]
pub(super) unsafe fn product_at(isa: Isa, to: *mut f32, row_step: usize, add: bool, a: View<'_>, b: View<'_>) {
    assert!(a.columns == b.rows && (row_step >= b.columns || a.rows == 1), "matrices that can be multiplied");
    if turned::pays(a, b) {
        // SAFETY: by the caller's promise.
        unsafe { turned::product(isa, to, row_step, add, a, b) };
        return;
    }
    // SAFETY: the views were checked against their slices when they were made; the caller vouches for `to`.
    unsafe {
        gemm::gemm(
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
            gemm::Parallelism::None,
        );
    }
}

/// Columns of a panel.
pub(super) fn panel_width(isa: Isa) -> usize {
    if isa.tile_rows()[1] > 0 { 2 * LANES } else { LANES }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// Against a plain loop: all layouts, sizes around the tiles, panels and blocks, results among other values.
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
                product(isa, &mut to[..(rows - 1) * step + columns], step, add, a, b);
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
