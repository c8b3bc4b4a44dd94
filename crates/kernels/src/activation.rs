//! Element-wise functions on lanes, so that other kernels can fuse them.
#![allow(unsafe_code, reason = "reads and writes rows of outputs that a convolution has just stored")]

use dyconv_simd::{Isa, LANES, Lanes, Part, dispatch};

/// An element-wise function. NaN stays NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x · min(max(x + 3, 0), 6) / 6
    HardSwish,
    /// min(max(x + 3, 0), 6) / 6
    HardSigmoid,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x / (1 + exp(-x))
    Silu,
    /// x · (1 + erf(x / √2)) / 2
    Gelu,
}

/// Applies `activation` to every value, in place.
pub fn activate(isa: Isa, activation: Activation, values: &mut [f32]) {
    dispatch!(isa, body(activation: Activation, values: &mut [f32]));
}

#[inline(always)]
fn body<L: Lanes>(l: L, activation: Activation, values: &mut [f32]) {
    let (chunks, tail) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        let v = activated(l, Some(activation), l.load(chunk));
        l.store(v, chunk);
    }
    let v = activated(l, Some(activation), l.load_partial(tail));
    l.store_partial(v, tail);
}

/// x for x ≥ 0, slope · x below, in place.
pub fn leaky_relu(isa: Isa, slope: f32, values: &mut [f32]) {
    dispatch!(isa, leaky_body(slope: f32, values: &mut [f32]));
}

#[inline(always)]
fn leaky_body<L: Lanes>(l: L, slope: f32, values: &mut [f32]) {
    for chunk in values.chunks_mut(LANES) {
        let v = l.load_partial(chunk);
        let negative = l.mul(l.splat(slope), l.min(l.splat(0.0), v));
        l.store_partial(l.add(l.max(l.splat(0.0), v), negative), chunk);
    }
}

impl Activation {
    /// Whether it takes a few instructions, so that it is inlined for every register of a convolution. A convolution
    /// that ends with another one applies it to each tile after it is stored, while it is in the L1 cache.
    pub(crate) fn is_short(self) -> bool {
        match self {
            Activation::Relu | Activation::Relu6 | Activation::HardSwish => true,
            Activation::HardSigmoid | Activation::Sigmoid | Activation::Silu | Activation::Gelu => false,
        }
    }
}

/// Applies a short activation (or none) to several vectors at once, in registers. A long one is left to
/// [`ActivateRows`].
///
/// The arrays are indexed by constants only, and no reference to them is kept; otherwise the compiler spills the sums
/// to memory.
#[inline(always)]
pub(crate) fn finish<L: Lanes, const N: usize, const M: usize>(
    l: L,
    activation: Option<Activation>,
    sums: [[L::V; N]; M],
) -> [[L::V; N]; M] {
    let mut done = sums;
    let (low, high) = match activation {
        None | Some(Activation::HardSigmoid | Activation::Sigmoid | Activation::Silu | Activation::Gelu) => {
            (f32::NEG_INFINITY, f32::INFINITY)
        }
        Some(Activation::Relu) => (0.0, f32::INFINITY),
        Some(Activation::Relu6) => (0.0, 6.0),
        Some(Activation::HardSwish) => {
            for done in &mut done {
                for v in done {
                    *v = activated(l, Some(Activation::HardSwish), *v);
                }
            }
            return done;
        }
    };
    let (low, high) = (l.splat(low), l.splat(high));
    for done in &mut done {
        for v in done {
            *v = l.min(high, l.max(low, *v));
        }
    }
    done
}

/// Applies a long activation to rows of outputs that were just stored, and sums them. A function of its own
/// ([`Lanes::outlined`]), which all tiles share.
pub(crate) struct ActivateRows {
    pub(crate) activation: Activation,
    /// The first of `rows` rows of `lanes` values, `step` values apart.
    pub(crate) y: *mut f32,
    pub(crate) rows: usize,
    pub(crate) step: usize,
    pub(crate) lanes: usize,
    /// Sums of the rows, whole vectors, or null.
    pub(crate) sums: *mut f32,
    /// Whether the sums are overwritten instead of added to.
    pub(crate) first: bool,
}

impl ActivateRows {
    /// # Safety
    /// `y` is valid for the rows, and `sums`, unless null, for `lanes` values rounded up to whole vectors.
    #[inline(always)]
    unsafe fn run_as<L: Lanes, const SILU: bool>(&self, l: L) {
        for at in (0..self.lanes).step_by(LANES) {
            let n = LANES.min(self.lanes - at);
            let mut total = l.splat(0.0);
            for row in 0..self.rows {
                let y = self.y.wrapping_add(row * self.step + at);
                // SAFETY: `n` values of a row, by the caller's promise.
                let v = unsafe {
                    let v = if n == LANES { l.read(y) } else { l.read_partial(y, n) };
                    let v = if SILU { silu(l, v) } else { activated(l, Some(self.activation), v) };
                    if n == LANES {
                        l.write(v, y)
                    } else {
                        l.write_partial(v, y, n)
                    }
                    v
                };
                total = l.add(total, v);
            }
            if !self.sums.is_null() {
                let to = self.sums.wrapping_add(at);
                // SAFETY: a whole vector of the sums, by the caller's promise.
                unsafe { l.write(if self.first { total } else { l.add(l.read(to), total) }, to) };
            }
        }
    }
}

impl<L: Lanes> Part<L> for ActivateRows {
    #[inline(always)]
    fn run(self, l: L) {
        // SAFETY: whoever makes such rows has just stored them, and has room for the sums.
        unsafe {
            // No closures: they are compiled without the instruction set, and too large to be inlined.
            match self.activation {
                Activation::Silu => self.run_as::<L, true>(l),
                _ => self.run_as::<L, false>(l),
            }
        }
    }
}

/// Applies `activation` to every lane.
#[inline(always)]
pub(crate) fn activated<L: Lanes>(l: L, activation: Option<Activation>, v: L::V) -> L::V {
    match activation {
        None => v,
        Some(Activation::Relu) => l.max(l.splat(0.0), v),
        Some(Activation::Relu6) => relu6(l, v),
        Some(Activation::HardSwish) => l.mul(v, hard_sigmoid(l, v)),
        Some(Activation::HardSigmoid) => hard_sigmoid(l, v),
        Some(Activation::Sigmoid) => l.div(l.splat(1.0), one_plus_exp_minus(l, v)),
        Some(Activation::Silu) => silu(l, v),
        Some(Activation::Gelu) => gelu(l, v),
    }
}

// The constant comes first, so that `max` and `min` propagate NaN.
#[inline(always)]
fn relu6<L: Lanes>(l: L, v: L::V) -> L::V {
    l.min(l.splat(6.0), l.max(l.splat(0.0), v))
}

#[inline(always)]
fn hard_sigmoid<L: Lanes>(l: L, v: L::V) -> L::V {
    l.mul(relu6(l, l.add(v, l.splat(3.0))), l.splat(1.0 / 6.0))
}

#[inline(always)]
fn silu<L: Lanes>(l: L, v: L::V) -> L::V {
    l.div(v, one_plus_exp_minus(l, v))
}

/// 1 + exp(-x)
#[inline(always)]
fn one_plus_exp_minus<L: Lanes>(l: L, v: L::V) -> L::V {
    l.add(l.splat(1.0), exp(l, l.mul(l.splat(-1.0), v)))
}

/// exp(x), between 1e-38 and 1e38; NaN stays NaN. The relative error is about 1e-7.
#[inline(always)]
fn exp<L: Lanes>(l: L, v: L::V) -> L::V {
    let x = l.min(l.splat(87.5), l.max(l.splat(-87.0), v));
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2. Adding and subtracting 1.5·2²³ rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let n = l.add(l.mul_add(x, l.splat(std::f32::consts::LOG2_E), l.splat(ROUND)), l.splat(-ROUND));
    // ln 2 in two parts, the first of few bits.
    let r = l.mul_add(n, l.splat(2.121_944_4e-4), l.mul_add(n, l.splat(-0.693_359_4), x));
    // A polynomial near exp(r), with the least largest relative error.
    let mut p = l.splat(1.987_569_1e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
        p = l.mul_add(p, r, l.splat(coefficient));
    }
    l.times_two_to(p, n)
}

/// x·Φ(x) = max(x, 0) − |x|·(1 − erf(|x| / √2)) / 2, where 1 − erf is a polynomial times an exponential (Abramowitz
/// and Stegun, 7.1.26) with an error below 1.5e-7.
#[inline(always)]
fn gelu<L: Lanes>(l: L, v: L::V) -> L::V {
    let size = l.min(l.splat(1e4), l.max(l.mul(l.splat(-1.0), v), v));
    let t = l.div(l.splat(1.0), l.mul_add(size, l.splat(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2), l.splat(1.0)));
    let mut p = l.splat(1.061_405_4);
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6, 0.0] {
        p = l.mul_add(p, t, l.splat(coefficient));
    }
    let tail = l.mul(p, exp(l, l.mul(l.mul(size, size), l.splat(-0.5))));
    l.mul_add(l.mul(size, l.splat(-0.5)), tail, l.max(l.splat(0.0), v))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dyconv_simd::testing::{assert_close, values};

    pub(crate) const ALL: [Activation; 7] = [
        Activation::Relu,
        Activation::Relu6,
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Gelu,
    ];

    /// The definitions, in f64.
    pub(crate) fn naive(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => x * 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2),
        }
    }

    #[test]
    fn agrees_with_the_definitions() {
        for isa in Isa::available() {
            for activation in ALL {
                for n in [0, 1, 15, 16, 17, 50] {
                    let x: Vec<f32> = values(n, 7).iter().map(|v| v * 5.0).collect();
                    let mut y = x.clone();
                    activate(isa, activation, &mut y);
                    let expected: Vec<f64> = x.iter().map(|x| naive(activation, f64::from(*x))).collect();
                    assert_close(&y, &expected, 1e-6, &format!("{activation:?} {} {n}", isa.name()));
                }
                let mut damaged = vec![f32::NAN; 20];
                activate(isa, activation, &mut damaged);
                assert!(damaged.iter().all(|x| x.is_nan()), "{activation:?} hides NaN");
            }
        }
    }

    #[test]
    fn extremes_stay_finite() {
        for isa in Isa::available() {
            let mut x = [-1e30, 1e30, -200.0, 200.0];
            activate(isa, Activation::Sigmoid, &mut x);
            let low = [x[0], x[2]];
            assert!(low.iter().all(|v| (0.0..1e-37).contains(v)), "{low:?}");
            assert_eq!([x[1], x[3]], [1.0, 1.0]);
            for activation in [Activation::Silu, Activation::Gelu] {
                let mut x = [-1e30, 1e30, -200.0, 200.0, f32::INFINITY];
                activate(isa, activation, &mut x);
                assert!(x[0].abs() < 1e-5 && x[2].abs() < 1e-30, "{activation:?} {x:?}");
                assert_eq!([x[1], x[3], x[4]], [1e30, 200.0, f32::INFINITY], "{activation:?}");
            }
        }
    }

    #[test]
    fn leaky_relu_scales_what_is_negative() {
        for isa in Isa::available() {
            for slope in [0.1, -0.5, 0.0] {
                let x = values(37, 3);
                let mut y = x.clone();
                leaky_relu(isa, slope, &mut y);
                for (x, y) in x.iter().zip(&y) {
                    assert_eq!(*y, if *x < 0.0 { slope * x } else { *x }, "{} {slope}", isa.name());
                }
            }
            let mut damaged = [f32::NAN; 3];
            leaky_relu(isa, 0.1, &mut damaged);
            assert!(damaged.iter().all(|x| x.is_nan()));
        }
    }
}
