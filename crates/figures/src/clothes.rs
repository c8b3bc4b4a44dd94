//! The clothes, skin and hair of a figure.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::canvas::{Colour, Fabric, any_colour, mix, shaded};
use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hair {
    Bald,
    Short,
    /// Down to the shoulders.
    Long,
    Bun,
    Hat,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sleeves {
    None,
    Short,
    Long,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Legs {
    Trousers,
    Shorts,
    Skirt,
}

/// Everything about the looks of a figure except its shape.
#[derive(Debug, Clone)]
pub(crate) struct Clothes {
    pub skin: Colour,
    pub hair: Hair,
    /// Colour of the hair or the hat.
    pub hair_colour: Colour,
    pub beard: bool,
    pub glasses: bool,
    pub sleeves: Sleeves,
    pub legs: Legs,
    pub shirt: Fabric,
    pub trousers: Fabric,
    pub shoes: Colour,
    /// Looseness of the clothes, 1 for tight.
    pub loose: f32,
    /// Buttons or a zip down the front.
    pub buttons: Option<Colour>,
    /// Strength of the shading, and the side that the light comes from (-1 left, 1 right).
    pub light: [f32; 2],
}

const SKINS: [Colour; 6] = [
    [255.0, 224.0, 199.0],
    [241.0, 194.0, 155.0],
    [222.0, 171.0, 127.0],
    [188.0, 132.0, 92.0],
    [141.0, 91.0, 60.0],
    [92.0, 58.0, 40.0],
];

const HAIRS: [Colour; 7] = [
    [28.0, 24.0, 22.0],
    [59.0, 42.0, 30.0],
    [101.0, 67.0, 40.0],
    [150.0, 105.0, 60.0],
    [214.0, 178.0, 110.0],
    [160.0, 70.0, 35.0],
    [175.0, 172.0, 168.0],
];

impl Clothes {
    /// Random clothes for a figure of this height in pixels.
    pub fn draw(rng: &mut Random, height: f32, light: f32) -> Self {
        let [a, b] = std::array::from_fn(|_| *SKINS.choose(rng).expect("there are skins"));
        let skin = shaded(mix(a, b, rng.random_range(0.0..0.4)), rng.random_range(0.88..1.06));
        let hair = match rng.random_range(0..100) {
            0..8 => Hair::Bald,
            8..45 => Hair::Short,
            45..68 => Hair::Long,
            68..80 => Hair::Bun,
            _ => Hair::Hat,
        };
        let natural = *HAIRS.choose(rng).expect("there are hairs");
        let shirt = Fabric::draw(rng, 0.05 * height);
        let legs = match rng.random_range(0..100) {
            0..62 => Legs::Trousers,
            62..84 => Legs::Shorts,
            _ => Legs::Skirt,
        };
        Self {
            skin,
            hair,
            hair_colour: if hair == Hair::Hat || rng.random_bool(0.06) { any_colour(rng) } else { natural },
            beard: hair != Hair::Long && rng.random_bool(0.15),
            glasses: rng.random_bool(0.12),
            sleeves: match rng.random_range(0..100) {
                0..15 => Sleeves::None,
                15..55 => Sleeves::Short,
                _ => Sleeves::Long,
            },
            legs,
            shirt,
            trousers: if rng.random_bool(0.12) { shirt } else { Fabric::draw(rng, 0.05 * height) },
            shoes: if rng.random_bool(0.1) { skin } else { any_colour(rng) },
            loose: rng.random_range(1.0..1.35),
            buttons: rng.random_bool(0.4).then(|| any_colour(rng)),
            light: [rng.random_range(0.15..0.55), light],
        }
    }
}
