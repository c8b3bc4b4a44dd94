//! The canvas: colours, and the owner of each pixel.

use dyconv_data::raster::{Point, Shape, dot, sub};
use rand::Rng;

use crate::random::Random;

/// Red, green and blue, 0 to 255 each.
pub(crate) type Colour = [f32; 3];

/// An unfinished picture.
pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Row by row.
    pub pixels: Vec<Colour>,
    /// By pixel: the owner of the part that covers more than half of it; 0 is none.
    pub owner: Vec<u16>,
}

impl Canvas {
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0.0; 3]; width * height], owner: vec![0; width * height] }
    }

    /// Paints a shape; `owner` becomes the owner of the pixels that it covers.
    pub fn fill(&mut self, shape: &Shape, owner: u16, colour: impl Fn(Point) -> Colour) {
        let Self { width, height, pixels, owner: owners } = self;
        shape.cover(*width, *height, |i, p, coverage| {
            let colour = colour(p);
            pixels[i].iter_mut().zip(colour).for_each(|(old, new)| *old += coverage * (new - *old));
            if coverage >= 0.5 {
                owners[i] = owner;
            }
        });
    }
}

/// The pattern of a surface.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pattern {
    Plain,
    /// Stripes across the direction of the surface.
    Rings,
    /// Stripes along it.
    Pinstripes,
    Checks,
    Dots,
    Mottled,
}

/// Colours and pattern of a surface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fabric {
    pattern: Pattern,
    colours: [Colour; 2],
    /// Length in pixels after which the pattern repeats.
    period: f32,
    salt: u32,
}

impl Fabric {
    pub fn plain(colour: Colour) -> Self {
        Self { pattern: Pattern::Plain, colours: [colour; 2], period: 8.0, salt: 0 }
    }

    /// A random fabric whose pattern is roughly `size` pixels large.
    pub fn draw(rng: &mut Random, size: f32) -> Self {
        let pattern = match rng.random_range(0..100) {
            0..45 => Pattern::Plain,
            45..57 => Pattern::Rings,
            57..67 => Pattern::Pinstripes,
            67..78 => Pattern::Checks,
            78..85 => Pattern::Dots,
            _ => Pattern::Mottled,
        };
        let first = any_colour(rng);
        let second = if rng.random_bool(0.5) { any_colour(rng) } else { shaded(first, rng.random_range(0.5..0.85)) };
        Self {
            pattern,
            colours: [first, second],
            period: (size * rng.random_range(0.5..1.6)).max(2.5),
            salt: rng.random(),
        }
    }

    /// The colour at a point of the surface, in pixels along and across its direction.
    pub fn at(&self, along: f32, across: f32) -> Colour {
        let [u, v] = [along / self.period, across / self.period];
        // Half a period of each colour, with an edge about a pixel wide.
        let wave = |x: f32| {
            let triangle = 1.0 - 4.0 * ((x - x.floor()) - 0.5).abs();
            (0.5 + 0.25 * self.period * triangle).clamp(0.0, 1.0)
        };
        let share = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Rings => wave(u),
            Pattern::Pinstripes => wave(v),
            Pattern::Checks => {
                let [a, b] = [wave(u), wave(v)];
                a + b - 2.0 * a * b
            }
            Pattern::Dots => {
                let off = [u - u.floor() - 0.5, v - v.floor() - 0.5];
                (0.5 + self.period * (0.28 - dot(off, off).sqrt())).clamp(0.0, 1.0)
            }
            Pattern::Mottled => smooth_noise(2.0 * u, 2.0 * v, self.salt),
        };
        mix(self.colours[0], self.colours[1], share)
    }
}

/// A surface laid over a shape: its fabric, shaded as if it were round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surface {
    pub fabric: Fabric,
    pub origin: Point,
    /// Unit vector.
    pub direction: Point,
    /// Half the width, where the shading is darkest.
    pub radius: f32,
    /// Strength of the shading, and the side that the light comes from.
    pub light: [f32; 2],
}

impl Surface {
    pub fn at(&self, p: Point) -> Colour {
        let to = sub(p, self.origin);
        let [along, across] = [dot(to, self.direction), dot(to, [-self.direction[1], self.direction[0]])];
        let round = (across / self.radius).clamp(-1.0, 1.0);
        // The horizontal of the picture, so that light comes from the same side whatever the direction of the surface.
        let sideways = -round * self.direction[1];
        let [strength, side] = self.light;
        shaded(self.fabric.at(along, across), 1.0 - strength * (0.6 * round * round - side * sideways))
    }
}

pub(crate) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| a[i] + share * (b[i] - a[i]))
}

/// Lighter or darker.
pub(crate) fn shaded(colour: Colour, by: f32) -> Colour {
    colour.map(|c| (c * by).clamp(0.0, 255.0))
}

pub(crate) fn any_colour(rng: &mut Random) -> Colour {
    let hue: f32 = rng.random_range(0.0..6.0);
    let value = rng.random_range(0.12f32..1.0);
    let saturation = if rng.random_bool(0.3) { rng.random_range(0.0..0.15) } else { rng.random_range(0.1..0.9f32) };
    let channel = |offset: f32| {
        let at = (hue + offset) % 6.0;
        255.0 * value * (1.0 - saturation * (at.min(4.0 - at)).clamp(0.0, 1.0))
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// A random number in 0..1 that depends only on these integers.
pub(crate) fn hashed(x: i32, y: i32, salt: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x8da6_b343) ^ (y as u32).wrapping_mul(0xd816_3841) ^ salt;
    h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
    (h ^ h >> 15) as f32 / u32::MAX as f32
}

/// Noise in 0..=1 whose hills are about one unit wide.
pub(crate) fn smooth_noise(x: f32, y: f32, salt: u32) -> f32 {
    let [fx, fy] = [x - x.floor(), y - y.floor()].map(|f| f * f * (3.0 - 2.0 * f));
    let (x, y) = (x.floor() as i32, y.floor() as i32);
    let row = |y: i32| {
        let [a, b] = [hashed(x, y, salt), hashed(x.wrapping_add(1), y, salt)];
        a + fx * (b - a)
    };
    let [a, b] = [row(y), row(y.wrapping_add(1))];
    a + fy * (b - a)
}
