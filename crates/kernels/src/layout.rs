//! Conversion between channels-first, the layout of images and tensors, and channels-last, the layout of the kernels.

/// `[C, pixels]` → `[pixels, C]`.
///
/// # Panics
/// If the slices differ in length, or the length is not a multiple of `channels`.
pub fn chw_to_hwc(channels: usize, from: &[f32], to: &mut [f32]) {
    check(channels, from, to);
    transpose(from, to, channels, from.len() / channels);
}

/// `[pixels, C]` → `[C, pixels]`.
///
/// # Panics
/// If the slices differ in length, or the length is not a multiple of `channels`.
pub fn hwc_to_chw(channels: usize, from: &[f32], to: &mut [f32]) {
    check(channels, from, to);
    transpose(from, to, from.len() / channels, channels);
}

fn check(channels: usize, from: &[f32], to: &[f32]) {
    assert_eq!(from.len(), to.len(), "as many values out as in");
    assert!(channels > 0 && from.len().is_multiple_of(channels), "{} values of {channels} channels", from.len());
}

/// Transposes `[rows, columns]` to `[columns, rows]`, in blocks that stay in the cache.
fn transpose(from: &[f32], to: &mut [f32], rows: usize, columns: usize) {
    if rows == 3 {
        // An image: its three planes are read in parallel.
        let (red, rest) = from.split_at(columns);
        let (green, blue) = rest.split_at(columns);
        for (((to, r), g), b) in to.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue) {
            *to = [*r, *g, *b];
        }
        return;
    }
    const BLOCK: usize = 32;
    for c0 in (0..columns).step_by(BLOCK) {
        for r0 in (0..rows).step_by(BLOCK) {
            for c in c0..(c0 + BLOCK).min(columns) {
                let r1 = (r0 + BLOCK).min(rows);
                for (r, out) in (r0..r1).zip(&mut to[c * rows + r0..c * rows + r1]) {
                    *out = from[r * columns + c];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_simd::testing::values;

    #[test]
    fn there_and_back() {
        for (c, p) in [(1, 1), (3, 50), (50, 3), (3, 1), (70, 33), (16, 1)] {
            let x = values(c * p, 5);
            let (mut y, mut back) = (vec![0.0; c * p], vec![0.0; c * p]);
            chw_to_hwc(c, &x, &mut y);
            assert!((0..p).all(|i| (0..c).all(|j| y[i * c + j] == x[j * p + i])));
            hwc_to_chw(c, &y, &mut back);
            assert_eq!(back, x);
        }
    }
}
