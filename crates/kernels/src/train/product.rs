//! Matrix products on strided views.

/// A matrix inside a slice; steps are distances between neighbouring elements.
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
}

/// `to` (+)= a · b, rows of `to` `row_step` apart.
pub(super) fn product(to: &mut [f32], row_step: usize, accumulate: bool, a: View<'_>, b: View<'_>) {
    assert!((a.rows - 1) * row_step + b.columns <= to.len(), "the result inside its slice");
    #[allow(unsafe_code, reason = "the product of another crate takes pointers")]
    // SAFETY: the assertion above keeps every written element inside `to`, which is borrowed alone.
    unsafe {
        product_at(to.as_mut_ptr(), row_step, accumulate, a, b);
    }
}

/// As [`product`], to a place given by a pointer.
///
/// # Safety
/// Rows of `b.columns` values, `row_step ≥ b.columns` apart, `a.rows` of them from `to` on, must be valid for reads and
/// writes, and nobody else may read or write them meanwhile.
#[allow(unsafe_code, reason = "the product of another crate takes pointers")]
pub(super) unsafe fn product_at(to: *mut f32, row_step: usize, accumulate: bool, a: View<'_>, b: View<'_>) {
    assert!(a.columns == b.rows && (row_step >= b.columns || a.rows == 1), "matrices that can be multiplied");
    // SAFETY: the views were checked against their slices when they were made; the caller vouches for `to`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            to,
            1,
            row_step as isize,
            accumulate,
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
