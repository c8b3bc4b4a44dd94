//! Changes of colour and sharpness, equivalent to Pillow's: 8 bits in, 8 bits out, with the same rounding at every
//! step.
//!
//! A grey image is treated as three equal channels would be.

use crate::image::{Image, luma};

/// Maps every sample through a table.
fn map(image: &mut Image, table: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|v| table(v as u8));
    image.data.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Interpolates from `other` (factor 0) to `own` (factor 1) and extrapolates beyond; fractions are truncated.
fn blend(other: u8, own: u8, factor: f32) -> u8 {
    let [other, own] = [other, own].map(f32::from);
    // Saturates at 0 and 255.
    (other + factor * (own - other)) as u8
}

/// Factor 0 is black.
pub(super) fn brightness(image: &mut Image, factor: f32) {
    map(image, |v| blend(0, v, factor));
}

/// Factor 0 is the mean grey of the image everywhere.
pub(super) fn contrast(image: &mut Image, factor: f32) {
    let pixels = (image.width * image.height) as f64;
    let sum: u64 = match image.channels {
        1 => image.data.iter().map(|v| u64::from(*v)).sum(),
        _ => image.data.chunks_exact(3).map(|p| u64::from(luma(p))).sum(),
    };
    let mean = (sum as f64 / pixels + 0.5) as u8;
    map(image, |v| blend(mean, v, factor));
}

/// Factor 0 is grey.
pub(super) fn saturation(image: &mut Image, factor: f32) {
    if image.channels == 3 {
        for pixel in image.data.chunks_exact_mut(3) {
            let grey = luma(pixel);
            pixel.iter_mut().for_each(|v| *v = blend(grey, *v, factor));
        }
    }
}

/// Rotates the hue by the fraction `by` of the colour circle, -0.5..=0.5.
pub(super) fn hue(image: &mut Image, by: f32) {
    // Hue has 8 bits and wraps around.
    let by = (by * 255.0) as i32 as u8;
    if image.channels == 3 {
        for pixel in image.data.chunks_exact_mut(3) {
            let [h, s, v] = to_hsv([pixel[0], pixel[1], pixel[2]]);
            pixel.copy_from_slice(&to_rgb([h.wrapping_add(by), s, v]));
        }
    }
}

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [rc, gc, bc] = [r, g, b].map(|v| f64::from(f32::from(most - v) / range));
    let sixth = if r == most {
        bc - gc
    } else if g == most {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    // Single precision, as in Pillow.
    let h = (f64::from(sixth as f32) / 6.0 + 1.0).fract() as f32;
    [(f64::from(h) * 255.0) as u8, (f64::from(range / f32::from(most)) * 255.0) as u8, most]
}

fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    let six = f64::from(h) * 6.0 / 255.0;
    let (sector, f) = (six.floor(), (six - six.floor()) as f32);
    let s = (f64::from(s) / 255.0) as f32;
    let faded = |by: f64| (f64::from(v) * (1.0 - by)).round() as u8;
    let (p, q, t) = (faded(s.into()), faded((s * f).into()), faded(f64::from(s) * (1.0 - f64::from(f))));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// Keeps the highest `bits` of every sample, 0..=8.
pub(super) fn posterize(image: &mut Image, bits: u32) {
    let mask = !(0xff_u16 >> bits) as u8;
    map(image, |v| v & mask);
}

/// Inverts samples of at least `threshold`.
pub(super) fn solarize(image: &mut Image, threshold: f64) {
    map(image, |v| if f64::from(v) < threshold { v } else { 255 - v });
}

/// Stretches every channel to 0..=255.
pub(super) fn autocontrast(image: &mut Image) {
    per_channel(image, |histogram| {
        let low = histogram.iter().position(|n| *n > 0)?;
        let high = histogram.iter().rposition(|n| *n > 0)?;
        let scale = 255.0 / (high > low).then_some(high - low)? as f64;
        let offset = -(low as f64) * scale;
        Some(std::array::from_fn(|v| (v as f64 * scale + offset) as u8))
    });
}

/// Equalises the histogram of every channel.
pub(super) fn equalize(image: &mut Image) {
    per_channel(image, |histogram| {
        let highest = histogram.iter().rfind(|n| **n > 0)?;
        let step = (histogram.iter().sum::<usize>() - highest) / 255;
        if step == 0 {
            return None;
        }
        let mut below = step / 2;
        Some(histogram.map(|n| {
            let level = (below / step).min(255) as u8;
            below += n;
            level
        }))
    });
}

/// Maps every channel through the table computed from its histogram, if there is one.
fn per_channel(image: &mut Image, table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
    for channel in 0..image.channels {
        let mut histogram = [0; 256];
        let samples = image.data.iter().skip(channel).step_by(image.channels);
        samples.for_each(|v| histogram[usize::from(*v)] += 1);
        if let Some(table) = table(&histogram) {
            let samples = image.data.iter_mut().skip(channel).step_by(image.channels);
            samples.for_each(|v| *v = table[usize::from(*v)]);
        }
    }
}

/// Factor 0 is smooth: the mean of a sample, weighted five times, and its eight neighbours. The border is unchanged.
pub(super) fn sharpness(image: &mut Image, factor: f32) {
    let (row, c) = (image.width * image.channels, image.channels);
    let source = image.data.clone();
    for y in 1..image.height.saturating_sub(1) {
        for x in c..row.saturating_sub(c) {
            let at = y * row + x;
            let line = |at: usize| u32::from(source[at - c]) + u32::from(source[at]) + u32::from(source[at + c]);
            let sum = line(at - row) + line(at) + line(at + row) + 4 * u32::from(source[at]);
            let smooth = (sum as f32 / 13.0 + 0.5) as u8;
            image.data[at] = blend(smooth, source[at], factor);
        }
    }
}
