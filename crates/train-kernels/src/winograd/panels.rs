//! The matrices at the points: their layout, their products, and scaling by the coefficients of the samples.

use dyconv_simd::{Isa, LANES, Lanes, dispatch, lanes, lanes_mut};

use crate::gemm::{DEPTH, Strip, View, strip};

/// A matrix whose columns are stored in panels, one after the other, each with all rows. The last panel may be
/// narrower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    pub rows: usize,
    /// A multiple of the lanes.
    pub columns: usize,
    /// Number of columns of a panel, a multiple of the lanes; if it is all columns, the matrix is row-major.
    pub width: usize,
}

impl Panels {
    /// Offset of sixteen columns of a row.
    #[inline(always)]
    pub fn place(&self, row: usize, column: usize) -> usize {
        let first = column / self.width * self.width;
        first * self.rows + row * self.width.min(self.columns - first) + column - first
    }
}

/// `to` (+)= a · b; b and the result have the layout `layout`, and the result has as many rows as a.
#[allow(unsafe_code, reason = "the innermost loop takes pointers")]
pub(super) fn gemm(isa: Isa, a: View<'_>, b: &[f32], layout: Panels, to: &mut [f32], add: bool) {
    a.assert_columns(layout.rows);
    assert!(
        layout.rows * layout.columns <= b.len() && a.rows() * layout.columns <= to.len(),
        "matrices in their slices"
    );
    for column in (0..layout.columns).step_by(layout.width) {
        let width = layout.width.min(layout.columns - column);
        for first in (0..layout.rows).step_by(DEPTH) {
            let s = Strip {
                rows: a.rows(),
                depth: DEPTH.min(layout.rows - first),
                a_steps: a.steps(),
                b_step: width,
                to_step: width,
                last: LANES,
                add: add || first > 0,
            };
            let b = b[column * layout.rows + first * width..].as_ptr();
            let to = to[column * a.rows()..].as_mut_ptr();
            // SAFETY: the view lies inside its slice; b and the result have these rows by the assertion above.
            unsafe { strip(isa, s, width / LANES, a.at(0, first), b, to) };
        }
    }
}

/// Coefficients `[samples, K]` of rows; each sample has `each` rows.
#[derive(Clone, Copy)]
pub(super) struct Coefficients<'a> {
    pub pi: &'a [f32],
    pub kernels: usize,
    pub each: usize,
}

/// Replaces row t by the K rows π_k · row t side by side. `from` has the layout `layout`; `to` has as many rows, in
/// panels `width` wide.
pub(super) fn scale(isa: Isa, from: &[f32], layout: Panels, by: Coefficients<'_>, to: &mut [f32], width: usize) {
    dispatch!(isa, scale_body(from: &[f32], layout: Panels, by: Coefficients<'_>, to: &mut [f32], width: usize));
}

#[inline(always)]
fn scale_body<L: Lanes>(l: L, from: &[f32], layout: Panels, by: Coefficients<'_>, to: &mut [f32], width: usize) {
    let wide = Panels { columns: by.kernels * layout.columns, width, ..layout };
    for row in 0..layout.rows {
        let pi = &by.pi[row / by.each * by.kernels..][..by.kernels];
        for column in (0..layout.columns).step_by(LANES) {
            let v = l.load(lanes(from, layout.place(row, column)));
            for (k, p) in pi.iter().enumerate() {
                let at = wide.place(row, k * layout.columns + column);
                l.store(l.mul(l.splat(*p), v), lanes_mut(to, at));
            }
        }
    }
}

/// The reverse of [`scale`] for the gradients `from` of scaled rows: `to`, laid out as `rows`, becomes Σ_k π_k · row k,
/// and `dots` `[samples, K]` receives ⟨row k, row t⟩ summed over the rows of a sample.
pub(super) fn fold(
    isa: Isa,
    from: &[f32],
    rows: &[f32],
    layout: Panels,
    by: Coefficients<'_>,
    to: &mut [f32],
    dots: &mut [f32],
) {
    dispatch!(
        isa,
        fold_body(
            from: &[f32],
            rows: &[f32],
            layout: Panels,
            by: Coefficients<'_>,
            to: &mut [f32],
            dots: &mut [f32]
        )
    );
}

#[inline(always)]
fn fold_body<L: Lanes>(
    l: L,
    from: &[f32],
    rows: &[f32],
    layout: Panels,
    by: Coefficients<'_>,
    to: &mut [f32],
    dots: &mut [f32],
) {
    let wide = Panels { columns: by.kernels * layout.columns, ..layout };
    dots.fill(0.0);
    for row in 0..layout.rows {
        let first = row / by.each * by.kernels;
        for k in 0..by.kernels {
            let p = l.splat(by.pi[first + k]);
            let mut dot = l.splat(0.0);
            for column in (0..layout.columns).step_by(LANES) {
                let v = l.load(lanes(from, wide.place(row, k * layout.columns + column)));
                let at = layout.place(row, column);
                dot = l.mul_add(v, l.load(lanes(rows, at)), dot);
                let to = lanes_mut(to, at);
                l.store(if k == 0 { l.mul(p, v) } else { l.mul_add(p, v, l.load(to)) }, to);
            }
            dots[first + k] += l.sum(dot);
        }
    }
}
