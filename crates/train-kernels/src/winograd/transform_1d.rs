//! The transforms of a tile along one axis, and their transposes.
//!
//! ```text
//! kernel  u = G·g     3 taps   → points     transpose: points → taps
//! input   v = Bᵀ·d    inputs   → points     transpose: points → inputs
//! output  y = Aᵀ·m    points   → outputs    transpose: outputs → points
//! ```
//!
//! A form may use fewer than six values; the rest are meaningless.

use dyconv_kernels::transform_1d::{self as inference, A, A2, B, B2, FAR, NEAR};
use dyconv_simd::Lanes;

/// Values along one axis of a tile.
pub(super) type Line<L> = [<L as Lanes>::V; 6];

#[inline(always)]
fn sub<L: Lanes>(l: L, a: L::V, b: L::V) -> L::V {
    l.mul_add(l.splat(-1.0), b, a)
}

/// A form of tiles along one axis.
pub(super) trait Axis {
    const POINTS: usize;
    const INPUTS: usize;
    const OUTPUTS: usize;

    /// Three taps → points.
    fn kernel<L: Lanes>(l: L, g: &Line<L>) -> Line<L>;
    /// Points → three taps.
    fn kernel_back<L: Lanes>(l: L, u: &Line<L>) -> Line<L>;
    /// Inputs → points.
    fn input<L: Lanes>(l: L, d: &Line<L>) -> Line<L>;
    /// Points → inputs.
    fn input_back<L: Lanes>(l: L, v: &Line<L>) -> Line<L>;
    /// Points → outputs.
    fn output<L: Lanes>(l: L, m: &Line<L>) -> Line<L>;
    /// Outputs → points.
    fn output_back<L: Lanes>(l: L, y: &Line<L>) -> Line<L>;
}

/// F(4×4): polynomials evaluated at the points that `dyconv-kernels` chose.
pub(super) struct Four;

impl Axis for Four {
    const POINTS: usize = 6;
    const INPUTS: usize = 6;
    const OUTPUTS: usize = 4;

    #[inline(always)]
    fn kernel<L: Lanes>(l: L, g: &Line<L>) -> Line<L> {
        inference::kernel(l, [g[0], g[1], g[2]])
    }

    #[inline(always)]
    fn kernel_back<L: Lanes>(l: L, u: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        let (near, near_odd) = (l.add(u[1], u[2]), sub(l, u[1], u[2]));
        let (far, far_odd) = (l.add(u[3], u[4]), sub(l, u[3], u[4]));
        let middle = l.mul_add(l.splat(A), near_odd, l.mul(l.splat(B), far_odd));
        let last = l.mul_add(l.splat(A2), near, l.mul_add(l.splat(B2), far, u[5]));
        [l.add(u[0], l.add(near, far)), middle, last, zero, zero, zero]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: &Line<L>) -> Line<L> {
        inference::input(l, *d)
    }

    #[inline(always)]
    fn input_back<L: Lanes>(l: L, v: &Line<L>) -> Line<L> {
        let (near, near_odd) = (l.add(v[1], v[2]), sub(l, v[1], v[2]));
        let (far, far_odd) = (l.add(v[3], v[4]), sub(l, v[3], v[4]));
        let odd = l.mul_add(l.splat(A), near_odd, l.mul(l.splat(B), far_odd));
        let (a2, b2, both) = (l.splat(-A2), l.splat(-B2), l.splat(-A2 - B2));
        let cross = l.mul_add(l.splat(-B2 * A), near_odd, l.mul(l.splat(-A2 * B), far_odd));
        [
            v[0],
            l.add(v[5], cross),
            l.mul_add(both, v[0], l.mul_add(b2, near, l.mul(a2, far))),
            l.mul_add(both, v[5], odd),
            l.add(v[0], l.add(near, far)),
            v[5],
        ]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        let [a, b, c, d] = inference::output(l, *m);
        [a, b, c, d, zero, zero]
    }

    #[inline(always)]
    fn output_back<L: Lanes>(l: L, y: &Line<L>) -> Line<L> {
        let at = [l.splat(NEAR), l.splat(FAR)];
        let even = [l.mul_add(l.splat(A2), y[2], y[0]), l.mul_add(l.splat(B2), y[2], y[0])];
        let odd = [
            l.mul_add(l.splat(A2 * A), y[3], l.mul(l.splat(A), y[1])),
            l.mul_add(l.splat(B2 * B), y[3], l.mul(l.splat(B), y[1])),
        ];
        [
            y[0],
            l.mul(at[0], l.add(even[0], odd[0])),
            l.mul(at[0], sub(l, even[0], odd[0])),
            l.mul(at[1], l.add(even[1], odd[1])),
            l.mul(at[1], sub(l, even[1], odd[1])),
            y[3],
        ]
    }
}

/// F(2×2): polynomials evaluated at 0, ±1 and ∞.
pub(super) struct Two;

impl Axis for Two {
    const POINTS: usize = 4;
    const INPUTS: usize = 4;
    const OUTPUTS: usize = 2;

    #[inline(always)]
    fn kernel<L: Lanes>(l: L, g: &Line<L>) -> Line<L> {
        let (ends, middle) = (l.mul(l.splat(0.5), l.add(g[0], g[2])), l.mul(l.splat(0.5), g[1]));
        let zero = l.splat(0.0);
        [g[0], l.add(ends, middle), sub(l, ends, middle), g[2], zero, zero]
    }

    #[inline(always)]
    fn kernel_back<L: Lanes>(l: L, u: &Line<L>) -> Line<L> {
        let (zero, half) = (l.splat(0.0), l.splat(0.5));
        let (near, near_odd) = (l.add(u[1], u[2]), sub(l, u[1], u[2]));
        [l.mul_add(half, near, u[0]), l.mul(half, near_odd), l.mul_add(half, near, u[3]), zero, zero, zero]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [sub(l, d[0], d[2]), l.add(d[1], d[2]), sub(l, d[2], d[1]), sub(l, d[3], d[1]), zero, zero]
    }

    #[inline(always)]
    fn input_back<L: Lanes>(l: L, v: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        let (near, near_odd) = (l.add(v[1], v[2]), sub(l, v[1], v[2]));
        [v[0], sub(l, near_odd, v[3]), sub(l, near, v[0]), v[3], zero, zero]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        let (even, odd) = (l.add(m[1], m[2]), sub(l, m[1], m[2]));
        [l.add(m[0], even), l.add(odd, m[3]), zero, zero, zero, zero]
    }

    #[inline(always)]
    fn output_back<L: Lanes>(l: L, y: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [y[0], l.add(y[0], y[1]), sub(l, y[0], y[1]), y[1], zero, zero]
    }
}

/// A map of two pixels, padded by one: y = [[w1, w2], [w0, w1]]·x, a Toeplitz matrix, in three products.
///
/// ```text
/// m = [(w0 - w1)·x0, w1·(x0 + x1), (w2 - w1)·x1]     y0 = m1 + m2     y1 = m0 + m1
/// ```
pub(super) struct Whole;

impl Axis for Whole {
    const POINTS: usize = 3;
    const INPUTS: usize = 2;
    const OUTPUTS: usize = 2;

    #[inline(always)]
    fn kernel<L: Lanes>(l: L, g: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [sub(l, g[0], g[1]), g[1], sub(l, g[2], g[1]), zero, zero, zero]
    }

    #[inline(always)]
    fn kernel_back<L: Lanes>(l: L, u: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [u[0], sub(l, u[1], l.add(u[0], u[2])), u[2], zero, zero, zero]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [d[0], l.add(d[0], d[1]), d[1], zero, zero, zero]
    }

    #[inline(always)]
    fn input_back<L: Lanes>(l: L, v: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [l.add(v[0], v[1]), l.add(v[1], v[2]), zero, zero, zero, zero]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [l.add(m[1], m[2]), l.add(m[0], m[1]), zero, zero, zero, zero]
    }

    #[inline(always)]
    fn output_back<L: Lanes>(l: L, y: &Line<L>) -> Line<L> {
        let zero = l.splat(0.0);
        [y[1], l.add(y[0], y[1]), y[0], zero, zero, zero]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::Isa;
    use dyconv_simd::{LANES, dispatch};

    /// The values in lane 0.
    #[inline(always)]
    fn first<L: Lanes>(l: L, line: Line<L>) -> [f64; 6] {
        line.map(|v| f64::from(l.to_array(v)[0]))
    }

    #[inline(always)]
    fn line<L: Lanes>(l: L, values: [f32; 6]) -> Line<L> {
        values.map(|v| l.load(&[v; LANES]))
    }

    fn dot(a: [f64; 6], b: [f64; 6], n: usize) -> f64 {
        a.iter().zip(b).take(n).map(|(a, b)| a * b).sum()
    }

    /// Output i reads three inputs, from input i - `before` on.
    #[inline(always)]
    fn check<L: Lanes, M: Axis>(l: L, before: usize, name: &str) {
        let [a, b, c] = [
            [0.3f32, -1.1, 0.7, 0.9, -0.2, 1.3],
            [-0.8, 0.6, 1.2, -0.5, 0.4, -1.0],
            [1.0, 0.25, -0.75, 0.5, -1.5, 0.125],
        ];
        // y = Aᵀ·(G·g ⊙ Bᵀ·d) is the convolution.
        let (u, v) = (M::kernel(l, &line(l, a)), M::input(l, &line(l, b)));
        let mut m = line(l, [0.0; 6]);
        for (m, (u, v)) in m.iter_mut().zip(u.into_iter().zip(v)) {
            *m = l.mul(u, v);
        }
        let y = first(l, M::output(l, &m));
        for (i, y) in y.iter().enumerate().take(M::OUTPUTS) {
            let seen = |t: usize| (i + t).checked_sub(before).filter(|at| *at < M::INPUTS).map_or(0.0, |at| b[at]);
            let expected: f64 = (0..3).map(|t| f64::from(a[t]) * f64::from(seen(t))).sum();
            assert!((y - expected).abs() < 1e-5, "{name}, {} points: output {i} is {y}, not {expected}", M::POINTS);
        }
        // ⟨M·x, z⟩ = ⟨x, Mᵀ·z⟩.
        let (x, z) = (line(l, a), line(l, c));
        let pairs = [
            ([M::kernel(l, &x), M::kernel_back(l, &z)], [3, M::POINTS]),
            ([M::input(l, &x), M::input_back(l, &z)], [M::INPUTS, M::POINTS]),
            ([M::output_back(l, &x), M::output(l, &z)], [M::OUTPUTS, M::POINTS]),
        ];
        for (i, ([there, back], [from, to])) in pairs.into_iter().enumerate() {
            let (left, right) =
                (dot(first(l, there), c.map(f64::from), to), dot(a.map(f64::from), first(l, back), from));
            assert!((left - right).abs() < 1e-5, "{name}, {} points: map {i}: {left} and {right}", M::POINTS);
        }
    }

    #[inline(always)]
    fn all<L: Lanes>(l: L, name: &str) {
        check::<L, Four>(l, 0, name);
        check::<L, Two>(l, 0, name);
        check::<L, Whole>(l, 1, name);
    }

    #[test]
    fn lines_convolve_and_their_transposes_are_transposes() {
        for isa in Isa::available() {
            let name = isa.name();
            dispatch!(isa, all(name: &str));
        }
    }
}
