//! Element-wise functions on lanes, so that other kernels can fuse them.

use dyconv_simd::{Isa, LANES, Lanes, dispatch};

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

impl Activation {
    /// Whether a convolution can end with it: it is short enough to be inlined for every register.
    pub fn is_short(self) -> bool {
        match self {
            Activation::Relu | Activation::Relu6 | Activation::HardSwish => true,
            Activation::HardSigmoid | Activation::Sigmoid => false,
        }
    }
}

/// Applies a short activation (or none) to several vectors at once, in registers.
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
        None => (f32::NEG_INFINITY, f32::INFINITY),
        // `Activation::is_short` has already rejected the long ones.
        Some(Activation::Relu | Activation::HardSigmoid | Activation::Sigmoid) => (0.0, f32::INFINITY),
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

/// Applies `activation` to every lane.
#[inline(always)]
pub(crate) fn activated<L: Lanes>(l: L, activation: Option<Activation>, v: L::V) -> L::V {
    match activation {
        None => v,
        Some(Activation::Relu) => l.max(l.splat(0.0), v),
        Some(Activation::Relu6) => relu6(l, v),
        Some(Activation::HardSwish) => l.mul(v, hard_sigmoid(l, v)),
        Some(Activation::HardSigmoid) => hard_sigmoid(l, v),
        Some(Activation::Sigmoid) => {
            let mut lanes = l.to_array(v);
            for x in &mut lanes {
                *x = 1.0 / (1.0 + (-*x).exp());
            }
            l.load(&lanes)
        }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dyconv_simd::testing::{assert_close, values};

    pub(crate) const ALL: [Activation; 5] =
        [Activation::Relu, Activation::Relu6, Activation::HardSwish, Activation::HardSigmoid, Activation::Sigmoid];

    /// The definitions, in f64.
    pub(crate) fn naive(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
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
            assert_eq!(x, [0.0, 1.0, 0.0, 1.0]);
        }
    }
}
