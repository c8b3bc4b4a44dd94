//! The pixels of an image, and operations that need no resampling.

use rand::Rng;

/// A decoded image: 8 bits per channel, channels-last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// `[height, width, channels]`, row by row.
    pub data: Vec<u8>,
}

/// A rectangle with integer pixel coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Image {
    /// An image of the given pixels, `[height, width, channels]`.
    ///
    /// # Panics
    /// If the number of pixels does not fit the sizes, or `channels` is neither 1 nor 3.
    pub fn new(width: usize, height: usize, channels: usize, data: Vec<u8>) -> Self {
        assert!(channels == 1 || channels == 3, "{channels} channels");
        assert_eq!(data.len(), width * height * channels, "bytes of a {width}x{height} image of {channels} channels");
        Self { width, height, channels, data }
    }

    /// Converts to grey by ITU-R 601-2 as Pillow rounds it; a grey image is returned unchanged.
    pub fn into_grey(self) -> Self {
        if self.channels == 1 {
            return self;
        }
        self.to_grey()
    }

    /// A grey copy of an RGB picture.
    pub(crate) fn to_grey(&self) -> Self {
        let data = self.data.chunks_exact(3).map(luma).collect();
        Self { width: self.width, height: self.height, channels: 1, data }
    }

    /// The pixels inside `rect`, which lies inside the image.
    pub(crate) fn cropped(&self, rect: Rect) -> Self {
        let (row, start) = (self.width * self.channels, rect.left * self.channels);
        let rows = self.data.chunks_exact(row).skip(rect.top).take(rect.height);
        let rows: Vec<&[u8]> = rows.map(|r| &r[start..start + rect.width * self.channels]).collect();
        let data = rows.concat();
        Self { width: rect.width, height: rect.height, channels: self.channels, data }
    }

    /// A grey image as three equal channels; an RGB image is returned unchanged.
    pub(crate) fn to_rgb(&self) -> Self {
        if self.channels == 3 {
            return self.clone();
        }
        Self { channels: 3, data: self.data.iter().flat_map(|&v| [v; 3]).collect(), ..*self }
    }

    /// The means of blocks of `columns` × `rows` pixels, smaller blocks at the right and lower edge.
    pub(crate) fn averaged(&self, columns: usize, rows: usize) -> Self {
        let (width, height) = (self.width.div_ceil(columns), self.height.div_ceil(rows));
        let (c, stride) = (self.channels, self.width * self.channels);
        let mut data = Vec::with_capacity(width * height * c);
        let mut sums = vec![0u64; width * c];
        for band in self.data.chunks(rows * stride) {
            sums.fill(0);
            for (x, pixel) in band.chunks_exact(stride).flat_map(|line| line.chunks_exact(c).enumerate()) {
                let sum = &mut sums[x / columns * c..][..c];
                sum.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += u64::from(*v));
            }
            let lines = band.len() / stride;
            for (x, sum) in sums.chunks_exact(c).enumerate() {
                let count = (lines * columns.min(self.width - x * columns)) as u64;
                data.extend(sum.iter().map(|sum| ((sum + count / 2) / count) as u8));
            }
        }
        Self { width, height, channels: c, data }
    }

    /// A canvas of `width` × `height` with this image's top left corner at (`x`, `y`); pixels outside the canvas are
    /// lost. The rest has the value that `color` holds for each channel.
    pub(crate) fn placed(&self, width: usize, height: usize, x: isize, y: isize, color: &[u8]) -> Self {
        let c = self.channels;
        let mut data = color[..c].repeat(width * height);
        let (left, right) = overlap(self.width, width, x);
        let (top, bottom) = overlap(self.height, height, y);
        let rows = if left < right { top..bottom } else { 0..0 };
        for row in rows {
            let from = (row as isize - y) as usize * self.width + (left as isize - x) as usize;
            let pixels = (right - left) * c;
            data[(row * width + left) * c..][..pixels].copy_from_slice(&self.data[from * c..][..pixels]);
        }
        Self { width, height, channels: c, data }
    }

    /// Mirrored left to right.
    pub(crate) fn flipped(mut self) -> Self {
        let c = self.channels;
        for row in self.data.chunks_exact_mut(self.width * c) {
            row.reverse();
            row.chunks_exact_mut(c).for_each(<[u8]>::reverse);
        }
        self
    }

    /// Shifted by up to `by` pixels in each direction, filled with black.
    pub(crate) fn shifted(&self, by: usize, rng: &mut impl Rng) -> Self {
        let by = by as i64;
        let [x, y] = [rng.random_range(-by..=by), rng.random_range(-by..=by)];
        self.placed(self.width, self.height, x as isize, y as isize, &[0; 3])
    }
}

/// Brightness of an RGB pixel by ITU-R 601-2, rounded as Pillow does.
pub(crate) fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// The part `start..end` of a canvas line that is covered by a line of `len` pixels starting at `at`.
fn overlap(len: usize, canvas: usize, at: isize) -> (usize, usize) {
    let start = at.clamp(0, canvas as isize);
    let end = (at + len as isize).clamp(start, canvas as isize);
    (start as usize, end as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn numbered(width: usize, height: usize, channels: usize) -> Image {
        Image::new(width, height, channels, (0..width * height * channels).map(|i| i as u8 + 1).collect())
    }

    #[test]
    fn grey_is_rounded_as_pillow_does() {
        let pixels = vec![255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30];
        assert_eq!(Image::new(6, 1, 3, pixels).into_grey().data, vec![255, 0, 76, 150, 29, 18]);
    }

    #[test]
    fn crop_takes_the_rectangle() {
        let image = numbered(4, 3, 1).cropped(Rect { left: 1, top: 1, width: 2, height: 2 });
        assert_eq!(image, Image::new(2, 2, 1, vec![6, 7, 10, 11]));
    }

    #[test]
    fn flip_keeps_the_order_of_channels() {
        assert_eq!(numbered(2, 1, 3).flipped().data, vec![4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn placing_pads_with_the_color_and_cuts_what_is_outside() {
        let image = numbered(2, 2, 1);
        assert_eq!(image.placed(3, 3, 1, 0, &[0; 3]).data, vec![0, 1, 2, 0, 3, 4, 0, 0, 0]);
        assert_eq!(image.placed(2, 2, -1, 1, &[0; 3]).data, vec![0, 0, 2, 0]);
        assert_eq!(image.placed(2, 2, 5, -5, &[0; 3]).data, vec![0; 4]);
        assert_eq!(image.placed(2, 2, -5, 0, &[0; 3]).data, vec![0; 4]);
        assert_eq!(numbered(1, 1, 3).placed(2, 1, 1, 0, &[7, 8, 9]).data, vec![7, 8, 9, 1, 2, 3]);
    }

    #[test]
    fn blocks_are_averaged_and_the_last_ones_are_smaller() {
        let image = Image::new(3, 3, 1, vec![1, 2, 30, 3, 4, 31, 100, 101, 255]);
        assert_eq!(image.averaged(2, 2), Image::new(2, 2, 1, vec![3, 31, 101, 255]));
        assert_eq!(image.averaged(1, 1), image);
        assert_eq!(numbered(2, 1, 3).averaged(2, 1), Image::new(1, 1, 3, vec![3, 4, 5]));
        assert_eq!(image.averaged(9, 9).data, vec![59]);
    }

    #[test]
    fn shifts_stay_in_range_and_reach_both_ends() {
        let image = Image::new(1, 1, 1, vec![9]).placed(5, 5, 2, 2, &[0; 3]);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut seen = [0usize; 25];
        for _ in 0..400 {
            seen[image.shifted(1, &mut rng).data.iter().position(|&p| p == 9).unwrap()] += 1;
        }
        let reached: Vec<usize> = (0..25).filter(|&i| seen[i] > 0).collect();
        assert_eq!(reached, vec![6, 7, 8, 11, 12, 13, 16, 17, 18]);
    }
}
