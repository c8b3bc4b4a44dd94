//! Head and face of a figure. Lengths are fractions of the radius of the skull: left, down and front of its centre.

use crate::body::SIDES;
use crate::canvas::{Fabric, mix, shaded};
use crate::clothes::Hair;
use crate::figure::{Part, Pieces};

impl Pieces<'_> {
    /// Skull, hair or hat, ears and face.
    pub fn add_head(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (r, h, skull) = (body.build.head, body.head, body.skull);
        let z = skull[2] + 0.03;
        let at = |l: f32, d: f32, f: f32| h.at(skull, [l * r, d * r, f * r]);
        let skin = Fabric::plain(clothes.skin);
        let hair = Fabric::plain(clothes.hair_colour);
        let cheeks = Fabric::plain(shaded(clothes.skin, 1.03));
        self.limb(z, Part::Head, [at(0.0, -0.12, -0.05), at(0.0, 0.62, 0.22)], [r * 0.97, r * 0.62], cheeks);

        // The back of hair and hat lies behind the head of a figure that faces the viewer, and over the head of one
        // that does not.
        let back = if h.front[2] > 0.0 { z - 0.002 } else { z + 0.004 };
        let top = z + 0.006;
        match clothes.hair {
            Hair::Bald => {}
            Hair::Short | Hair::Long | Hair::Bun => {
                let thick = if clothes.hair == Hair::Short { 1.0 } else { 1.06 };
                self.limb(back, Part::Hair, [at(0.0, -0.26, -0.22), at(0.0, 0.05, -0.30)], [r * thick, r * 0.85], hair);
                // A fringe: an arc over the forehead.
                if h.front[2] > -0.5 {
                    for (from, to) in [((-0.75, -0.62), (0.0, -0.92)), ((0.0, -0.92), (0.75, -0.62))] {
                        let ends = [at(from.0, from.1, 0.28), at(to.0, to.1, 0.35)];
                        self.limb(top, Part::Hair, ends, [r * 0.22, r * 0.26], hair);
                    }
                }
                if clothes.hair == Hair::Bun {
                    let bun = at(0.0, -0.75, -1.05);
                    self.limb(back - 0.001 * h.front[2].signum(), Part::Hair, [bun, bun], [r * 0.42; 2], hair);
                }
                if clothes.hair == Hair::Long {
                    for sign in SIDES {
                        let ends = [at(sign * 0.85, -0.3, -0.25), at(sign * 0.80, 1.25, -0.25)];
                        let depth = (skull[2] + sign * h.left[2] * r) + 0.03 + 0.008 * h.front[2].signum();
                        self.limb(depth, Part::Hair, ends, [r * 0.30, r * 0.24], hair);
                    }
                    let nape = [at(0.0, 0.0, -0.55), at(0.0, 1.35, -0.55)];
                    let depth = if h.front[2] > 0.0 { body.chest[2].min(z) - 0.10 } else { z + 0.02 };
                    self.limb(depth, Part::Hair, nape, [r * 0.80, r * 0.72], hair);
                }
            }
            Hair::Hat => {
                let dark = Fabric::plain(shaded(clothes.hair_colour, 0.75));
                self.limb(top, Part::Hair, [at(-0.35, -0.72, -0.10), at(0.35, -0.72, -0.10)], [r * 0.68; 2], hair);
                let brim = [at(-0.5, -0.50, 0.72), at(0.5, -0.50, 0.72)];
                let depth = if h.front[2] > -0.2 { top + 0.001 } else { z - 0.004 };
                self.limb(depth, Part::Hair, brim, [r * 0.20; 2], dark);
                // Hair in the neck, below the hat.
                let neck = Fabric::plain(shaded(clothes.skin, 0.55));
                if h.front[2] < 0.0 {
                    self.limb(back, Part::Hair, [at(-0.3, 0.25, -0.62), at(0.3, 0.25, -0.62)], [r * 0.42; 2], neck);
                }
            }
        }
        for (side, sign) in SIDES.into_iter().enumerate() {
            let facing = sign * h.left[2];
            if facing > -0.45 && clothes.hair != Hair::Long {
                let depth = z + if facing > 0.1 { 0.005 } else { -0.001 };
                let ends = [at(sign * 0.95, -0.08, -0.08), at(sign * 0.93, 0.22, -0.05)];
                let ear = Fabric::plain(shaded(clothes.skin, 0.86));
                self.limb(depth, Part::Ear(side), ends, [r * 0.20, r * 0.13], ear);
            }
        }
        self.add_face(z + 0.003, skin);
    }

    /// Eyes, brows, nose, mouth and beard, as far as they are on the visible side of the head.
    fn add_face(&mut self, z: f32, skin: Fabric) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (r, h, skull) = (body.build.head, body.head, body.skull);
        let at = |l: f32, d: f32, f: f32| h.at(skull, [l * r, d * r, f * r]);
        let seen = |l: f32, f: f32| l * h.left[2] + f * h.front[2];
        if seen(0.0, 1.0) > 0.05 && clothes.beard {
            let ends = [at(-0.25, 0.78, 0.42), at(0.25, 0.78, 0.42)];
            self.limb(z, Part::Head, ends, [r * 0.42; 2], Fabric::plain(clothes.hair_colour));
        }
        if seen(0.0, 1.0) > 0.15 {
            let mouth = [at(-0.26, 0.62, 0.80), at(0.26, 0.62, 0.80)];
            let lips = mix(clothes.skin, [150.0, 30.0, 40.0], 0.6);
            self.limb(z + 0.0005, Part::Head, mouth, [r * 0.075; 2], Fabric::plain(lips));
        }
        for sign in SIDES {
            if seen(sign * 0.42, 0.9) > 0.18 {
                let white = [at(sign * 0.30, -0.10, 0.90), at(sign * 0.50, -0.10, 0.84)];
                self.limb(z + 0.001, Part::Head, white, [r * 0.13; 2], Fabric::plain([245.0, 245.0, 240.0]));
                let pupil = at(sign * 0.40, -0.10, 0.90);
                self.limb(z + 0.0012, Part::Head, [pupil; 2], [r * 0.11; 2], Fabric::plain([35.0, 25.0, 20.0]));
                let brow = [at(sign * 0.20, -0.36, 0.88), at(sign * 0.60, -0.38, 0.76)];
                self.limb(z + 0.0013, Part::Head, brow, [r * 0.06; 2], Fabric::plain(shaded(clothes.hair_colour, 0.8)));
                if clothes.glasses {
                    let lens = [at(sign * 0.22, -0.08, 0.93), at(sign * 0.58, -0.08, 0.86)];
                    self.limb(z + 0.0014, Part::Head, lens, [r * 0.22; 2], Fabric::plain([30.0, 30.0, 38.0]));
                }
            }
        }
        if seen(0.0, 1.0) > -0.25 {
            let nose = [at(0.0, -0.08, 0.90), at(0.0, 0.18, 1.02)];
            let depth = if seen(0.0, 1.0) > 0.0 { z + 0.002 } else { z - 0.006 };
            let shade = Fabric::plain(shaded(skin.at(0.0, 0.0), 0.80));
            self.limb(depth, Part::Head, nose, [r * 0.09, r * 0.17], shade);
        }
    }
}
