//! The maps of F(4×4, 3×3) and F(2×2, 3×3) along one axis, and their transposes.
//!
//! ```text
//! kernel  u = G·g     3 taps           → SIDE + 2 points     transpose: points → taps
//! input   v = Bᵀ·d    SIDE + 2 inputs  → SIDE + 2 points     transpose: points → inputs
//! output  y = Aᵀ·m    SIDE + 2 points  → SIDE outputs        transpose: outputs → points
//! ```
//!
//! F(4×4) multiplies polynomials at the points that [`crate::winograd`] chose, F(2×2) at 0, ±1 and ∞. Where SIDE is 2 the last two
//! of six values mean nothing.

use crate::lanes::Lanes;
use crate::winograd::transforms::{A, A2, B, B2, FAR, NEAR, input_line, kernel_line, output_line};

/// Values along one axis of a tile.
pub(super) type Line<L> = [<L as Lanes>::V; 6];

#[inline(always)]
fn sub<L: Lanes>(l: L, a: L::V, b: L::V) -> L::V {
    l.mul_add(l.splat(-1.0), b, a)
}

/// Three taps → points.
#[inline(always)]
pub(super) fn kernel<L: Lanes, const SIDE: usize>(l: L, g: &Line<L>) -> Line<L> {
    if SIDE == 4 {
        return kernel_line(l, [g[0], g[1], g[2]]);
    }
    let (ends, middle) = (l.mul(l.splat(0.5), l.add(g[0], g[2])), l.mul(l.splat(0.5), g[1]));
    let zero = l.splat(0.0);
    [g[0], l.add(ends, middle), sub(l, ends, middle), g[2], zero, zero]
}

/// Points → three taps.
#[inline(always)]
pub(super) fn kernel_back<L: Lanes, const SIDE: usize>(l: L, u: &Line<L>) -> Line<L> {
    let zero = l.splat(0.0);
    let (near, near_odd) = (l.add(u[1], u[2]), sub(l, u[1], u[2]));
    if SIDE == 4 {
        let (far, far_odd) = (l.add(u[3], u[4]), sub(l, u[3], u[4]));
        let middle = l.mul_add(l.splat(A), near_odd, l.mul(l.splat(B), far_odd));
        let last = l.mul_add(l.splat(A2), near, l.mul_add(l.splat(B2), far, u[5]));
        return [l.add(u[0], l.add(near, far)), middle, last, zero, zero, zero];
    }
    let half = l.splat(0.5);
    [l.mul_add(half, near, u[0]), l.mul(half, near_odd), l.mul_add(half, near, u[3]), zero, zero, zero]
}

/// Inputs → points.
#[inline(always)]
pub(super) fn input<L: Lanes, const SIDE: usize>(l: L, d: &Line<L>) -> Line<L> {
    if SIDE == 4 {
        return input_line(l, *d);
    }
    let zero = l.splat(0.0);
    [sub(l, d[0], d[2]), l.add(d[1], d[2]), sub(l, d[2], d[1]), sub(l, d[3], d[1]), zero, zero]
}

/// Points → inputs.
#[inline(always)]
pub(super) fn input_back<L: Lanes, const SIDE: usize>(l: L, v: &Line<L>) -> Line<L> {
    let zero = l.splat(0.0);
    let (near, near_odd) = (l.add(v[1], v[2]), sub(l, v[1], v[2]));
    if SIDE == 4 {
        let (far, far_odd) = (l.add(v[3], v[4]), sub(l, v[3], v[4]));
        let odd = l.mul_add(l.splat(A), near_odd, l.mul(l.splat(B), far_odd));
        let (a2, b2, both) = (l.splat(-A2), l.splat(-B2), l.splat(-A2 - B2));
        let cross = l.mul_add(l.splat(-B2 * A), near_odd, l.mul(l.splat(-A2 * B), far_odd));
        return [
            v[0],
            l.add(v[5], cross),
            l.mul_add(both, v[0], l.mul_add(b2, near, l.mul(a2, far))),
            l.mul_add(both, v[5], odd),
            l.add(v[0], l.add(near, far)),
            v[5],
        ];
    }
    [v[0], sub(l, near_odd, v[3]), sub(l, near, v[0]), v[3], zero, zero]
}

/// Points → outputs.
#[inline(always)]
pub(super) fn output<L: Lanes, const SIDE: usize>(l: L, m: &Line<L>) -> Line<L> {
    let zero = l.splat(0.0);
    if SIDE == 4 {
        let [a, b, c, d] = output_line(l, *m);
        return [a, b, c, d, zero, zero];
    }
    let (even, odd) = (l.add(m[1], m[2]), sub(l, m[1], m[2]));
    [l.add(m[0], even), l.add(odd, m[3]), zero, zero, zero, zero]
}

/// Outputs → points.
#[inline(always)]
pub(super) fn output_back<L: Lanes, const SIDE: usize>(l: L, y: &Line<L>) -> Line<L> {
    if SIDE == 4 {
        let at = [l.splat(NEAR), l.splat(FAR)];
        let even = [l.mul_add(l.splat(A2), y[2], y[0]), l.mul_add(l.splat(B2), y[2], y[0])];
        let odd = [
            l.mul_add(l.splat(A2 * A), y[3], l.mul(l.splat(A), y[1])),
            l.mul_add(l.splat(B2 * B), y[3], l.mul(l.splat(B), y[1])),
        ];
        return [
            y[0],
            l.mul(at[0], l.add(even[0], odd[0])),
            l.mul(at[0], sub(l, even[0], odd[0])),
            l.mul(at[1], l.add(even[1], odd[1])),
            l.mul(at[1], sub(l, even[1], odd[1])),
            y[3],
        ];
    }
    let zero = l.splat(0.0);
    [y[0], l.add(y[0], y[1]), sub(l, y[0], y[1]), y[1], zero, zero]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::lanes::{LANES, dispatch};

    /// Values of the lanes 0.
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

    #[inline(always)]
    fn check<L: Lanes, const SIDE: usize>(l: L, name: &str) {
        let reach = SIDE + 2;
        let [a, b, c] = [
            [0.3f32, -1.1, 0.7, 0.9, -0.2, 1.3],
            [-0.8, 0.6, 1.2, -0.5, 0.4, -1.0],
            [1.0, 0.25, -0.75, 0.5, -1.5, 0.125],
        ];
        // y = Aᵀ·(G·g ⊙ Bᵀ·d) is the convolution.
        let (u, v) = (kernel::<L, SIDE>(l, &line(l, a)), input::<L, SIDE>(l, &line(l, b)));
        let mut m = line(l, [0.0; 6]);
        for (m, (u, v)) in m.iter_mut().zip(u.into_iter().zip(v)) {
            *m = l.mul(u, v);
        }
        let y = first(l, output::<L, SIDE>(l, &m));
        for (i, y) in y.iter().enumerate().take(SIDE) {
            let expected: f64 = (0..3).map(|t| f64::from(a[t]) * f64::from(b[i + t])).sum();
            assert!((y - expected).abs() < 1e-5, "{name} F({SIDE}): output {i} is {y}, not {expected}");
        }
        // ⟨M·x, z⟩ = ⟨x, Mᵀ·z⟩.
        let (x, z) = (line(l, a), line(l, c));
        let pairs = [
            ([kernel::<L, SIDE>(l, &x), kernel_back::<L, SIDE>(l, &z)], [3, reach]),
            ([input::<L, SIDE>(l, &x), input_back::<L, SIDE>(l, &z)], [reach, reach]),
            ([output_back::<L, SIDE>(l, &x), output::<L, SIDE>(l, &z)], [SIDE, reach]),
        ];
        for (i, ([there, back], [from, to])) in pairs.into_iter().enumerate() {
            let (left, right) =
                (dot(first(l, there), c.map(f64::from), to), dot(a.map(f64::from), first(l, back), from));
            assert!((left - right).abs() < 1e-5, "{name} F({SIDE}): map {i}: {left} and {right}");
        }
    }

    #[inline(always)]
    fn both<L: Lanes>(l: L, name: &str) {
        check::<L, 4>(l, name);
        check::<L, 2>(l, name);
    }

    #[test]
    fn lines_convolve_and_their_transposes_are_transposes() {
        for isa in Isa::available() {
            let name = isa.name();
            dispatch!(isa, both(name: &str));
        }
    }
}
