//! Upsampling of channels-last maps by an integer factor, bilinear or by repeating pixels.
//!
//! Memory bound: the output is written once, and each output row reads two input rows. Along a row, the two input
//! columns around an output change only every few outputs. A column is interpolated between its two rows once and then
//! used for all outputs next to it.
#![allow(unsafe_code, reason = "threads write rows of one map, through a pointer")]

use dyconv_simd::{LANES, Lanes, dispatch};

use crate::activation::{Activation, activated};
use crate::exec::Exec;
use crate::threads::share;

/// Position of an output of a bilinear upsampling along one axis: between two inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Between {
    /// Index of the input before.
    pub low: usize,
    /// Index of the input after; equal to `low` at the ends of the axis.
    pub high: usize,
    /// Position between `low` and `high`, in [0, 1).
    pub share: f32,
}

impl Between {
    /// The positions of all outputs of an axis with `size` inputs: output o is at (o + ½) / scale − ½, clamped to the
    /// outermost inputs.
    pub fn axis(size: usize, scale: usize) -> Vec<Self> {
        let place = |o: usize| {
            // In units of half an output: 2·scale per input.
            let halves = (2 * o + 1).saturating_sub(scale);
            let low = halves / (2 * scale);
            if low + 1 < size {
                Self { low, high: low + 1, share: (halves % (2 * scale)) as f32 / (2 * scale) as f32 }
            } else {
                Self { low: size - 1, high: size - 1, share: 0.0 }
            }
        };
        (0..size * scale).map(place).collect()
    }
}

/// How pixels are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upsampling {
    /// From the four nearest pixels; see [`Between::axis`].
    Bilinear,
    /// Every pixel is repeated.
    Nearest,
}

/// An upsampling of fixed sizes.
#[derive(Debug, Clone)]
pub struct Upsample {
    /// `[H, W, C]`
    input: [usize; 3],
    rows: Vec<Between>,
    columns: Vec<Between>,
}

impl Upsample {
    /// Creates an upsampling from `[H, W, C]` to `[scale·H, scale·W, C]`.
    ///
    /// # Panics
    /// If a size or the scale is zero.
    pub fn new(input: [usize; 3], scale: usize, how: Upsampling) -> Self {
        assert!(scale > 0 && input.iter().all(|n| *n > 0), "sizes above zero");
        let axis = |size| match how {
            Upsampling::Bilinear => Between::axis(size, scale),
            Upsampling::Nearest => {
                (0..size * scale).map(|o| Between { low: o / scale, high: o / scale, share: 0.0 }).collect()
            }
        };
        Self { input, rows: axis(input[0]), columns: axis(input[1]) }
    }

    /// Output `[H', W', C]`.
    pub fn output(&self) -> [usize; 3] {
        [self.rows.len(), self.columns.len(), self.input[2]]
    }

    /// Length of the partial sums that [`run`](Self::run) can write.
    pub fn sums_len(&self) -> usize {
        self.rows.len() * self.input[2].next_multiple_of(LANES)
    }

    /// Computes `y` `[H', W', C]` = activation(upsampled `x` `[H, W, C]`). `sums` receives partial sums over the pixels
    /// of `y`, from which [`mean_of_sums`](crate::mean_of_sums) computes the means; it may be empty.
    ///
    /// # Panics
    /// If a length does not match.
    pub fn run(&self, exec: Exec<'_>, activation: Option<Activation>, x: &[f32], y: &mut [f32], sums: &mut [f32]) {
        assert_eq!(x.len(), self.input.iter().product::<usize>(), "input of the upsampling");
        assert_eq!(y.len(), self.output().iter().product::<usize>(), "output of the upsampling");
        assert!(sums.is_empty() || sums.len() == self.sums_len(), "room for the sums or none");
        let job = &Job {
            upsample: self,
            activation,
            x,
            y: y.as_mut_ptr(),
            sums: if sums.is_empty() { std::ptr::null_mut() } else { sums.as_mut_ptr() },
            parts: exec.pool.threads(),
        };
        exec.pool.run(job.parts, &|part| dispatch!(exec.isa, body(job: &Job<'_>, part: usize)));
    }
}

/// State shared by all threads. Made by [`Upsample::run`], which has checked every length.
struct Job<'a> {
    upsample: &'a Upsample,
    activation: Option<Activation>,
    x: &'a [f32],
    y: *mut f32,
    /// `[H', C rounded up]`, or null.
    sums: *mut f32,
    parts: usize,
}

// SAFETY: every row of outputs belongs to one part, which alone writes it and its sums.
unsafe impl Sync for Job<'_> {}

#[inline(always)]
fn body<L: Lanes>(l: L, job: &Job<'_>, part: usize) {
    let Upsample { input: [_, w, c], rows, columns } = job.upsample;
    let (row, step) = (columns.len() * c, c.next_multiple_of(LANES));
    for oy in share(rows.len(), part, job.parts) {
        let Between { low, high, share } = rows[oy];
        let [top, bottom] = [low, high].map(|y| &job.x[y * w * c..][..w * c]);
        // SAFETY: row `oy` lies inside the output, and its sums inside `sums`; both belong to this part alone.
        let (to, sums) = unsafe {
            let sums = if job.sums.is_null() {
                &mut []
            } else {
                std::slice::from_raw_parts_mut(job.sums.add(oy * step), step)
            };
            (std::slice::from_raw_parts_mut(job.y.add(oy * row), row), sums)
        };
        let line = Line { top, bottom, share, channels: *c, columns, activation: job.activation };
        for at in (0..*c).step_by(LANES) {
            let total = line.run(l, at, to);
            if !sums.is_empty() {
                l.store_partial(total, &mut sums[at..at + LANES]);
            }
        }
    }
}

/// An output row.
struct Line<'a> {
    /// The input rows around it, `[W, C]`, and its position between them.
    top: &'a [f32],
    bottom: &'a [f32],
    share: f32,
    channels: usize,
    columns: &'a [Between],
    activation: Option<Activation>,
}

impl Line<'_> {
    /// Writes up to sixteen channels of the row, from channel `at` on, and returns their sums.
    #[inline(always)]
    fn run<L: Lanes>(&self, l: L, at: usize, to: &mut [f32]) -> L::V {
        let n = (self.channels - at).min(LANES);
        let mut total = l.splat(0.0);
        let (mut low, mut high) = (self.columns[0].low, self.columns[0].high);
        let (mut left, mut right) = (self.column(l, low, at, n), self.column(l, high, at, n));
        for (column, pixel) in self.columns.iter().zip(to.chunks_exact_mut(self.channels)) {
            if column.low != low {
                left = if column.low == high { right } else { self.column(l, column.low, at, n) };
            }
            if column.high != high {
                right = if column.high == column.low { left } else { self.column(l, column.high, at, n) };
            }
            (low, high) = (column.low, column.high);
            let v = blend(l, left, right, column.share);
            let v = activated(l, self.activation, v);
            total = l.add(total, v);
            match <&mut [f32; LANES]>::try_from(&mut pixel[at..at + n]) {
                Ok(whole) => l.store(v, whole),
                Err(_) => l.store_partial(v, &mut pixel[at..at + n]),
            }
        }
        total
    }

    /// An input column, interpolated between its two rows.
    #[inline(always)]
    fn column<L: Lanes>(&self, l: L, x: usize, at: usize, n: usize) -> L::V {
        let at = x * self.channels + at;
        blend(l, load(l, &self.top[at..at + n]), load(l, &self.bottom[at..at + n]), self.share)
    }
}

/// (1 − share)·a + share·b
#[inline(always)]
fn blend<L: Lanes>(l: L, a: L::V, b: L::V, share: f32) -> L::V {
    l.mul_add(l.splat(share), b, l.mul(l.splat(1.0 - share), a))
}

#[inline(always)]
fn load<L: Lanes>(l: L, from: &[f32]) -> L::V {
    match <&[f32; LANES]>::try_from(from) {
        Ok(whole) => l.load(whole),
        Err(_) => l.load_partial(from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::tests::{ALL, naive};
    use crate::{Isa, Pool, mean_of_sums};
    use dyconv_simd::testing::{assert_close, values};
    use proptest::prelude::*;

    /// The definition, pixel by pixel.
    fn naive_upsample([h, w, c]: [usize; 3], scale: usize, x: &[f32]) -> Vec<f64> {
        let place = |o: usize, n: usize| {
            let at = ((o as f64 + 0.5) / scale as f64 - 0.5).max(0.0);
            let low = (at.floor() as usize).min(n - 1);
            (low, (low + 1).min(n - 1), at - low as f64)
        };
        let mut y = Vec::new();
        for (oy, ox, j) in (0..h * scale).flat_map(|y| (0..w * scale).flat_map(move |x| (0..c).map(move |j| (y, x, j))))
        {
            let ((y0, y1, fy), (x0, x1, fx)) = (place(oy, h), place(ox, w));
            let v = |y: usize, px: usize| f64::from(x[(y * w + px) * c + j]);
            let (top, bottom) = (v(y0, x0) * (1.0 - fx) + v(y0, x1) * fx, v(y1, x0) * (1.0 - fx) + v(y1, x1) * fx);
            y.push(top * (1.0 - fy) + bottom * fy);
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn agrees_with_the_definition(h in 1usize..9, w in 1usize..9, c in 1usize..40, scale in 1usize..6, which in 0usize..8) {
            let activation = ALL.get(which).copied();
            let x: Vec<f32> = values(h * w * c, 7).iter().map(|v| 4.0 * v).collect();
            let end = |v: &f64| activation.map_or(*v, |a| naive(a, *v));
            let expected: Vec<f64> = naive_upsample([h, w, c], scale, &x).iter().map(end).collect();
            let upsample = Upsample::new([h, w, c], scale, Upsampling::Bilinear);
            for (isa, threads) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 2)]) {
                let (mut y, mut sums) = (vec![f32::NAN; expected.len()], vec![f32::NAN; upsample.sums_len()]);
                let exec = Exec { isa, pool: &Pool::new(threads) };
                upsample.run(exec, activation, &x, &mut y, &mut sums);
                assert_close(&y, &expected, 1e-6, isa.name());
                let pixels = h * w * scale * scale;
                let mean = |j: usize| (0..pixels).map(|p| expected[p * c + j]).sum::<f64>() / pixels as f64;
                let mut means = vec![f32::NAN; c];
                mean_of_sums(isa, &sums, pixels, &mut means);
                assert_close(&means, &(0..c).map(mean).collect::<Vec<_>>(), 1e-5, isa.name());
                let mut again = vec![f32::NAN; expected.len()];
                upsample.run(exec, activation, &x, &mut again, &mut []);
                assert_eq!(again, y);
            }
        }

        /// Every input has the same weight in the outputs, so means are preserved.
        #[test]
        fn inputs_weigh_the_same(size in 1usize..20, scale in 1usize..7) {
            let mut weights = vec![0.0; size];
            for b in Between::axis(size, scale) {
                weights[b.low] += 1.0 - b.share;
                weights[b.high] += b.share;
            }
            prop_assert!(weights.iter().all(|w| (w - scale as f32).abs() < 1e-4), "{:?}", weights);
        }
    }

    #[test]
    fn nearest_repeats_pixels() {
        let ([h, w, c], scale) = ([3, 4, 18], 3);
        let x = values(h * w * c, 5);
        let upsample = Upsample::new([h, w, c], scale, Upsampling::Nearest);
        let value = |i: usize| {
            let (pixel, j) = (i / c, i % c);
            x[(pixel / (w * scale) / scale * w + pixel % (w * scale) / scale) * c + j]
        };
        let expected: Vec<f32> = (0..x.len() * scale * scale).map(value).collect();
        for isa in Isa::available() {
            let (mut y, mut sums) = (vec![f32::NAN; expected.len()], vec![f32::NAN; upsample.sums_len()]);
            upsample.run(Exec { isa, pool: &Pool::new(2) }, None, &x, &mut y, &mut sums);
            assert_eq!(y, expected, "{}", isa.name());
            let mut means = vec![f32::NAN; c];
            mean_of_sums(isa, &sums, expected.len() / c, &mut means);
            let mean = |j: usize| x.iter().skip(j).step_by(c).map(|v| f64::from(*v)).sum::<f64>() / (h * w) as f64;
            assert_close(&means, &(0..c).map(mean).collect::<Vec<_>>(), 1e-6, isa.name());
        }
    }

    #[test]
    fn two_pixels_by_hand() {
        let upsample = Upsample::new([1, 2, 1], 2, Upsampling::Bilinear);
        let mut y = vec![f32::NAN; 8];
        let exec = Exec { isa: Isa::detect(), pool: &Pool::new(1) };
        upsample.run(exec, None, &[0.0, 4.0], &mut y, &mut []);
        assert_eq!(y, [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
    }
}
