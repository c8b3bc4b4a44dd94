//! Moves channels of channels-last maps: copies some of them, and reorders all.

use dyconv_simd::{Isa, Lanes, dispatch};

use crate::run::span;

/// Copies `channels` channels of every pixel from `x` to `y`, whose pixels are `steps` values apart: slices from the
/// first value of the first pixel to the last value of the last pixel.
///
/// # Panics
/// If the lengths are not those of the same number of pixels.
pub fn copy_channels(channels: usize, steps: [usize; 2], x: &[f32], y: &mut [f32]) {
    let [x_step, y_step] = steps;
    assert!(channels > 0 && x_step >= channels && x.len() >= channels, "at least one pixel");
    let pixels = (x.len() - channels) / x_step + 1;
    assert_eq!(x.len(), span(pixels * channels, channels, x_step), "a whole number of pixels");
    assert_eq!(y.len(), span(pixels * channels, channels, y_step), "as many pixels out as in");
    if steps == [channels; 2] {
        y.copy_from_slice(x);
        return;
    }
    for (y, x) in y.chunks_mut(y_step).zip(x.chunks(x_step)) {
        y[..channels].copy_from_slice(&x[..channels]);
    }
}

/// Reorders the channels of every pixel: output channel i·groups + g is input channel g·(C / groups) + i.
///
/// # Panics
/// If the lengths differ, or the groups do not divide the channels.
pub fn shuffle_channels(channels: usize, groups: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "as many values out as in");
    assert!(groups > 0 && channels > 0 && channels.is_multiple_of(groups), "groups divide the channels");
    let members = channels / groups;
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        for (i, to) in y.chunks_exact_mut(groups).enumerate() {
            for (to, from) in to.iter_mut().zip(x.iter().skip(i).step_by(members)) {
                *to = *from;
            }
        }
    }
}

/// Interleaves two maps of `channels` channels: output channels 2·i and 2·i + 1 are channel i of `a` and of `b`. Pixels of
/// `a` and `b` are `steps` values apart.
///
/// # Panics
/// If the lengths are not those of the same number of pixels.
pub fn interleave_channels(isa: Isa, channels: usize, steps: [usize; 2], a: &[f32], b: &[f32], y: &mut [f32]) {
    assert!(channels > 0 && !y.is_empty() && y.len().is_multiple_of(2 * channels), "pixels of twice the channels");
    for (x, step) in [a, b].into_iter().zip(steps) {
        assert_eq!(x.len(), span(y.len() / 2, channels, step), "as many pixels in as out");
    }
    dispatch!(isa, interleave_body(channels: usize, steps: [usize; 2], a: &[f32], b: &[f32], y: &mut [f32]));
}

#[inline(always)]
fn interleave_body<L: Lanes>(_: L, channels: usize, steps: [usize; 2], a: &[f32], b: &[f32], y: &mut [f32]) {
    let pixels = a.chunks(steps[0]).zip(b.chunks(steps[1]));
    for (y, (a, b)) in y.chunks_exact_mut(2 * channels).zip(pixels) {
        for ((to, a), b) in y.as_chunks_mut::<2>().0.iter_mut().zip(&a[..channels]).zip(&b[..channels]) {
            *to = [*a, *b];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::testing::values;

    #[test]
    fn channels_are_copied_between_maps() {
        for (pixels, channels, x_step, y_step) in [(1, 3, 3, 5), (4, 3, 7, 3), (6, 17, 17, 17), (5, 16, 20, 33)] {
            let x = values((pixels - 1) * x_step + channels, 1);
            let mut y = vec![f32::NAN; (pixels - 1) * y_step + channels];
            copy_channels(channels, [x_step, y_step], &x, &mut y);
            for p in 0..pixels {
                assert_eq!(y[p * y_step..][..channels], x[p * x_step..][..channels]);
                let between = &y[p * y_step + channels..y.len().min((p + 1) * y_step)];
                assert!(between.iter().all(|v| v.is_nan()), "nothing between");
            }
        }
    }

    #[test]
    fn channels_are_seen_as_a_matrix_and_transposed() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0];
        let mut y = [0.0; 12];
        shuffle_channels(6, 2, &x, &mut y);
        assert_eq!(y, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 11.0, 14.0, 12.0, 15.0, 13.0, 16.0]);
        shuffle_channels(6, 3, &x, &mut y);
        assert_eq!(y[..6], [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn interleaving_is_shuffling_two_groups() {
        for isa in Isa::available() {
            for (pixels, channels) in [(1, 1), (3, 5), (4, 16), (2, 37)] {
                let (steps, whole) = ([channels + 2, channels], values(2 * pixels * channels, 4));
                let mut a = vec![f32::NAN; (pixels - 1) * steps[0] + channels];
                copy_channels(channels, [2 * channels, steps[0]], &whole[..whole.len() - channels], &mut a);
                let mut b = vec![f32::NAN; pixels * channels];
                copy_channels(channels, [2 * channels, channels], &whole[channels..], &mut b);
                let (mut found, mut expected) = (vec![f32::NAN; whole.len()], vec![f32::NAN; whole.len()]);
                interleave_channels(isa, channels, steps, &a, &b, &mut found);
                shuffle_channels(2 * channels, 2, &whole, &mut expected);
                assert_eq!(found, expected, "{} {pixels}x{channels}", isa.name());
            }
        }
    }
}
