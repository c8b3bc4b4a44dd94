//! Bilinear upsampling of feature maps, and its gradient.
//!
//! Rows first: an output row is interpolated between two input rows, then each of its pixels between two neighbours.
//! The gradient runs through the same steps in reverse.

use dyconv_kernels::Between;

use crate::geometry::split;
use crate::job::{ENOUGH, run, written};

/// Upsamples the `planes` consecutive maps of `size` (height, width) in `x` by the factor `scale` on each axis.
///
/// # Panics
/// If `x` is not `planes` maps, or the scale is zero.
pub fn upsample_forward(planes: usize, size: [usize; 2], scale: usize, x: &[f32]) -> Vec<f32> {
    let (pixels, outputs) = check(planes, size, scale, x.len(), 1);
    let [rows, columns] = size.map(|n| Between::axis(n, scale));
    let runs = split(planes, ENOUGH.min(planes));
    #[allow(unsafe_code, reason = "results start uninitialised")]
    // SAFETY: every plane is written, by one job.
    let (y, ()) = unsafe {
        written(planes * outputs, |y| {
            run(runs.len(), |job, s| {
                let line = s.columns.ensure_len(size[1]);
                for plane in runs[job].clone() {
                    let x = &x[plane * pixels..][..pixels];
                    let to = y.zeroed(plane * outputs, outputs);
                    for (row, to) in rows.iter().zip(to.chunks_exact_mut(columns.len())) {
                        let [top, bottom] = [row.low, row.high].map(|r| &x[r * size[1]..][..size[1]]);
                        for ((to, a), b) in line.iter_mut().zip(top).zip(bottom) {
                            *to = (1.0 - row.share) * a + row.share * b;
                        }
                        for (to, c) in to.iter_mut().zip(&columns) {
                            *to = (1.0 - c.share) * line[c.low] + c.share * line[c.high];
                        }
                    }
                }
            });
        })
    };
    y
}

/// Gradient of [`upsample_forward`] with respect to `x`, for `dy` `[planes, scale · height, scale · width]`.
///
/// # Panics
/// If `dy` is not `planes` maps, or the scale is zero.
pub fn upsample_backward(planes: usize, size: [usize; 2], scale: usize, dy: &[f32]) -> Vec<f32> {
    let (pixels, outputs) = check(planes, size, scale, dy.len(), scale * scale);
    let [rows, columns] = size.map(|n| Between::axis(n, scale));
    let runs = split(planes, ENOUGH.min(planes));
    #[allow(unsafe_code, reason = "results start uninitialised")]
    // SAFETY: every plane is written, by one job.
    let (dx, ()) = unsafe {
        written(planes * pixels, |dx| {
            run(runs.len(), |job, s| {
                let line = s.columns.ensure_len(size[1]);
                for plane in runs[job].clone() {
                    let dy = &dy[plane * outputs..][..outputs];
                    let to = dx.zeroed(plane * pixels, pixels);
                    for (row, dy) in rows.iter().zip(dy.chunks_exact(columns.len())) {
                        line.fill(0.0);
                        for (dy, c) in dy.iter().zip(&columns) {
                            line[c.low] += (1.0 - c.share) * dy;
                            line[c.high] += c.share * dy;
                        }
                        for (at, share) in [(row.low, 1.0 - row.share), (row.high, row.share)] {
                            for (to, d) in to[at * size[1]..].iter_mut().zip(&*line) {
                                *to += share * d;
                            }
                        }
                    }
                }
            });
        })
    };
    dx
}

/// Checks the lengths; returns the numbers of pixels of an input map and of an output map.
fn check(planes: usize, size: [usize; 2], scale: usize, len: usize, area: usize) -> (usize, usize) {
    let pixels = size[0] * size[1];
    assert!(planes > 0 && pixels > 0 && scale > 0, "sizes above zero");
    assert_eq!(len, planes * pixels * area, "as many maps as planes");
    (pixels, pixels * scale * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_kernels::{Exec, Pool, Upsample, Upsampling};
    use dyconv_simd::Isa;
    use dyconv_simd::testing::{assert_close, values};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Compares the values with those of the engine's kernel, whose test has the definition; and checks
        /// ⟨dy, up(x)⟩ = ⟨up'(dy), x⟩.
        #[test]
        fn agrees_with_the_engine_and_its_gradient_is_the_adjoint(
            planes in 1usize..40, h in 1usize..9, w in 1usize..9, scale in 1usize..5,
        ) {
            let (x, dy) = (values(planes * h * w, 1), values(planes * h * w * scale * scale, 2));
            let y = upsample_forward(planes, [h, w], scale, &x);
            let upsample = Upsample::new([h, w, 1], scale, Upsampling::Bilinear);
            let exec = Exec { isa: Isa::detect(), pool: &Pool::new(1) };
            for (x, y) in x.chunks_exact(h * w).zip(y.chunks_exact(h * w * scale * scale)) {
                let mut expected = vec![f32::NAN; y.len()];
                upsample.run(exec, None, x, &mut expected, &mut []);
                assert_close(y, &expected.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), 1e-6, "engine");
            }
            let dx = upsample_backward(planes, [h, w], scale, &dy);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let (left, right) = (dot(&dy, &y), dot(&dx, &x));
            prop_assert!((left - right).abs() <= 1e-5 * (dy.len() as f64), "{} {}", left, right);
        }
    }
}
