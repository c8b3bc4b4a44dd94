//! A matrix inside a slice.

/// A matrix inside a slice; steps are distances between adjacent elements, one of them 1.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_step: usize,
    pub(super) column_step: usize,
}

impl<'a> View<'a> {
    /// A row-major view `[rows, columns]`.
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

    /// Address of an element.
    pub fn at(&self, row: usize, column: usize) -> *const f32 {
        self.data[row * self.row_step + column * self.column_step..].as_ptr()
    }

    /// Whether adjacent columns are contiguous.
    pub(super) fn is_plain(&self) -> bool {
        self.column_step == 1
    }
}
