//! A dressed body in the picture: its parts, farthest first.

use super::body::{Body, SIDES};
use super::canvas::{Canvas, Colour, Fabric, Surface, mix, shaded};
use super::clothes::{Clothes, Hair, Legs, Sleeves};
use super::space::{Frame, Vector, along, dot};
use crate::raster::{Point, Shape, hull, length, sub};

/// What a pixel of a figure shows. Paired parts: left, right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    Hair,
    Ear(usize),
    Neck,
    Torso,
    Pelvis,
    Skirt,
    UpperArm(usize),
    Forearm(usize),
    Hand(usize),
    Thigh(usize),
    Shin(usize),
    Foot(usize),
}

impl Part {
    /// The owner of a pixel of this part of a figure (from 0).
    fn owner(self, figure: usize) -> u16 {
        let number = match self {
            Self::Head => 0,
            Self::Hair => 1,
            Self::Neck => 2,
            Self::Torso => 3,
            Self::Pelvis => 4,
            Self::Skirt => 5,
            Self::Ear(side) => 6 + side,
            Self::UpperArm(side) => 8 + side,
            Self::Forearm(side) => 10 + side,
            Self::Hand(side) => 12 + side,
            Self::Thigh(side) => 14 + side,
            Self::Shin(side) => 16 + side,
            Self::Foot(side) => 18 + side,
        };
        ((figure + 1) * 32 + number) as u16
    }
}

/// Which figure (from 0) owns a pixel, if any.
pub(super) fn figure_of(owner: u16) -> Option<usize> {
    (usize::from(owner) / 32).checked_sub(1)
}

/// A body at its place in the picture.
pub(super) struct Figure {
    pub body: Body,
    pub clothes: Clothes,
    /// Where the middle of the hips is, in pixels.
    pub origin: Point,
    /// Pixels of an upright adult.
    pub height: f32,
}

/// Something to be painted.
struct Piece {
    depth: f32,
    part: Part,
    shape: Shape,
    surface: Surface,
}

impl Figure {
    /// A point of the body in the picture.
    pub fn place(&self, v: Vector) -> Point {
        [self.origin[0] + self.height * v[0], self.origin[1] + self.height * v[1]]
    }

    /// Paints it as the figure of that number (from 0). Returns the pixels that it covers.
    pub fn paint(&self, canvas: &mut Canvas, number: usize) {
        let mut pieces = Pieces { figure: self, pieces: Vec::with_capacity(48) };
        pieces.torso();
        pieces.legs();
        pieces.arms();
        pieces.head();
        let mut pieces = pieces.pieces;
        pieces.sort_by(|a, b| a.depth.total_cmp(&b.depth));
        for piece in pieces {
            canvas.fill(&piece.shape, piece.part.owner(number), |p| piece.surface.at(p));
        }
    }

    /// Whether a pixel with that owner shows the joint, if it is the joint's pixel.
    pub fn shows(&self, number: usize, joint: usize, owner: u16) -> bool {
        let is = |parts: &[Part]| parts.iter().any(|part| part.owner(number) == owner);
        let body = &self.body;
        let side = (joint + 1) % 2;
        // Joints of the trunk show through clothes, but not through the trunk itself.
        let beside = |middle: Vector, slack: f32| body.joints[joint][2] > middle[2] - slack;
        let toward = |point: Vector| along(point, -1.0, body.skull)[2] / body.build.head;
        match joint {
            0 => toward(body.joints[0]) > -0.1 && is(&[Part::Head]),
            1 | 2 => toward(body.joints[joint]) > 0.0 && is(&[Part::Head]),
            3 | 4 => toward(body.joints[joint]) > -0.35 && is(&[Part::Head, Part::Ear(side)]),
            5 | 6 => is(&[Part::UpperArm(side)]) || beside(body.chest, 0.06) && is(&[Part::Torso]),
            7 | 8 => is(&[Part::UpperArm(side), Part::Forearm(side)]),
            9 | 10 => is(&[Part::Forearm(side), Part::Hand(side)]),
            11 | 12 => {
                let trunk = [Part::Torso, Part::Pelvis, Part::Skirt, Part::Thigh(side)];
                beside([0.0; 3], 0.045) && is(&trunk)
            }
            13 | 14 => is(&[Part::Thigh(side), Part::Shin(side)]),
            _ => is(&[Part::Shin(side), Part::Foot(side)]),
        }
    }
}

struct Pieces<'a> {
    figure: &'a Figure,
    pieces: Vec<Piece>,
}

impl Pieces<'_> {
    fn push(&mut self, depth: f32, part: Part, shape: Shape, surface: Surface) {
        self.pieces.push(Piece { depth, part, shape, surface });
    }

    /// A limb between two points of the body; radii are shares of the height.
    fn limb(&mut self, depth: f32, part: Part, ends: [Vector; 2], radii: [f32; 2], fabric: Fabric) {
        let f = self.figure;
        let ends = ends.map(|v| f.place(v));
        let radii = radii.map(|r| (r * f.height).max(0.7));
        let (way, span) = (sub(ends[1], ends[0]), length(sub(ends[1], ends[0])));
        let direction = if span > 0.5 { way.map(|c| c / span) } else { [0.0, 1.0] };
        let radius = radii[0].max(radii[1]);
        let surface = Surface { fabric, origin: ends[0], direction, radius, light: f.clothes.light };
        self.push(depth, part, Shape::Capsule { ends, radii }, surface);
    }

    /// A convex piece of cloth around points of the body, grown by `radius` (a share of the height).
    fn cloth(&mut self, depth: f32, part: Part, points: &[Vector], radius: f32, (fabric, frame): (Fabric, Frame)) {
        let f = self.figure;
        let corners = hull(points.iter().map(|v| f.place(*v)).collect());
        let down = [frame.down[0], frame.down[1]];
        let span = length(down);
        let direction = if span > 0.1 { down.map(|c| c / span) } else { [0.0, 1.0] };
        let middle = corners.iter().fold([0.0; 2], |m, c| [m[0] + c[0], m[1] + c[1]]);
        let origin = middle.map(|c| c / corners.len() as f32);
        let across = corners.iter().map(|c| {
            let to = sub(*c, origin);
            (to[1] * direction[0] - to[0] * direction[1]).abs()
        });
        let radius = radius * f.height;
        let reach = across.fold(0.0, f32::max) + radius;
        let surface = Surface { fabric, origin, direction, radius: reach, light: f.clothes.light };
        self.push(depth, part, Shape::Polygon { corners, radius }, surface);
    }

    fn torso(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (t, j, depth) = (body.torso, &body.joints, body.build.depth);
        let middle = body.chest[2] / 2.0;
        let front = depth - 0.03;
        let mut points = vec![j[11], j[12]];
        for share in [1.0, -1.0] {
            points.push(t.at(body.chest, [0.0, 0.015, share * front]));
            points.push(t.at([0.0; 3], [0.0, 0.0, share * front * 0.9]));
        }
        for (side, sign) in SIDES.into_iter().enumerate() {
            points.push(t.at(j[5 + side], [-sign * 0.008, 0.004, 0.0]));
        }
        let radius = 0.030 * clothes.loose.min(1.2);
        self.cloth(middle, Part::Torso, &points, radius, (clothes.shirt, t));
        let pelvis = 0.052 * body.build.girth.sqrt() * clothes.loose.sqrt();
        self.limb(middle.min(0.0) - 0.012, Part::Pelvis, [j[11], j[12]], [pelvis; 2], clothes.trousers);
        self.limb(
            middle + 0.004,
            Part::Neck,
            [body.chest, along(body.throat, 0.3, sub3(body.skull, body.throat))],
            [0.034, 0.030],
            Fabric::plain(shaded(clothes.skin, 0.92)),
        );
        // What is on the front of a shirt tells front from back.
        if let Some(colour) = clothes.buttons
            && t.front[2] > 0.15
        {
            let top = t.at(body.chest, [0.0, 0.01, depth]);
            let bottom = t.at([0.0; 3], [0.0, -0.03, depth]);
            self.limb(middle + 0.003, Part::Torso, [top, bottom], [0.006; 2], Fabric::plain(colour));
        }
    }

    fn legs(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (j, girth) = (&body.joints, body.build.girth);
        let skin = Fabric::plain(clothes.skin);
        let long = clothes.legs == Legs::Trousers;
        let [wide, cloth] = [clothes.loose * girth, clothes.loose];
        for side in 0..2 {
            let (hip, knee, ankle) = (j[11 + side], j[13 + side], j[15 + side]);
            let depth = |a: Vector, b: Vector| (a[2] + b[2]) / 2.0;
            let (upper, lower) = (depth(hip, knee) - 0.01, depth(knee, ankle) - 0.01);
            let (thigh, shin) = (Part::Thigh(side), Part::Shin(side));
            if clothes.legs == Legs::Skirt {
                self.limb(upper, thigh, [hip, knee], [0.050 * girth, 0.036 * girth], skin);
            } else {
                let end = if long { 1.0 } else { 0.8 };
                let hem = along(hip, end, sub3(knee, hip));
                self.limb(upper - 0.001, thigh, [hip, knee], [0.046 * girth, 0.035 * girth], skin);
                self.limb(upper, thigh, [hip, hem], [0.053 * wide, 0.040 * wide], clothes.trousers);
            }
            let (fabric, radii) = if long {
                (clothes.trousers, [0.039 * wide, 0.028 * wide * cloth])
            } else {
                (skin, [0.036 * girth, 0.023 * girth])
            };
            self.limb(lower, shin, [knee, ankle], radii, fabric);
            let heel = along(ankle, 0.018, unit(sub3(ankle, knee)));
            let shoe = Fabric::plain(clothes.shoes);
            let toe = body.toes[side];
            self.limb(
                depth(ankle, toe) - 0.008,
                Part::Foot(side),
                [heel, along(toe, 0.012, unit(sub3(ankle, knee)))],
                [0.027 * girth.sqrt(), 0.020],
                shoe,
            );
        }
        if clothes.legs == Legs::Skirt {
            let mut points = vec![j[11], j[12]];
            for (side, sign) in SIDES.into_iter().enumerate() {
                let hem = along(j[11 + side], 0.72, sub3(j[13 + side], j[11 + side]));
                points.push(along(hem, sign * 0.03 * clothes.loose, body.torso.left));
            }
            let depth = (j[13][2].max(j[14][2]) / 2.0).max(0.0) - 0.004;
            self.cloth(depth, Part::Skirt, &points, 0.040, (clothes.trousers, body.torso));
        }
    }

    fn arms(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (j, girth) = (&body.joints, body.build.girth);
        let skin = Fabric::plain(clothes.skin);
        let wide = girth * clothes.loose;
        for side in 0..2 {
            let (shoulder, elbow, wrist, hand) = (j[5 + side], j[7 + side], j[9 + side], body.hands[side]);
            let depth = |a: Vector, b: Vector| (a[2] + b[2]) / 2.0 + 0.012;
            let (upper, lower) = (depth(shoulder, elbow), depth(elbow, wrist));
            let part = Part::UpperArm(side);
            self.limb(upper - 0.001, part, [shoulder, elbow], [0.032 * girth, 0.026 * girth], skin);
            let sleeve = match clothes.sleeves {
                Sleeves::None => 0.0,
                Sleeves::Short => 0.55,
                Sleeves::Long => 1.0,
            };
            if sleeve > 0.0 {
                let end = along(shoulder, sleeve, sub3(elbow, shoulder));
                self.limb(upper, part, [shoulder, end], [0.036 * wide.min(1.35), 0.031 * wide], clothes.shirt);
            }
            let (fabric, radii) = match clothes.sleeves {
                Sleeves::Long => (clothes.shirt, [0.030 * wide, 0.023 * wide]),
                _ => (skin, [0.026 * girth, 0.018 * girth]),
            };
            self.limb(lower, Part::Forearm(side), [elbow, wrist], radii, fabric);
            let palm = along(wrist, 0.3, sub3(hand, wrist));
            self.limb(lower + 0.004, Part::Hand(side), [palm, hand], [0.022, 0.017], skin);
        }
    }

    fn head(&mut self) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (r, h, skull) = (body.build.head, body.head, body.skull);
        let z = skull[2] + 0.03;
        let at = |l: f32, d: f32, f: f32| h.at(skull, [l * r, d * r, f * r]);
        let skin = Fabric::plain(clothes.skin);
        let hair = Fabric::plain(clothes.hair_colour);
        let cheeks = Fabric::plain(shaded(clothes.skin, 1.03));
        self.limb(z, Part::Head, [at(0.0, -0.12, -0.05), at(0.0, 0.62, 0.22)], [r * 0.97, r * 0.62], cheeks);

        // Of hair and hat, what is at the back lies behind the head of who faces us, and over that of who does not.
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
                let dark = Fabric::plain(shaded(clothes.skin, 0.55));
                if h.front[2] < 0.0 {
                    self.limb(back, Part::Hair, [at(-0.3, 0.25, -0.62), at(0.3, 0.25, -0.62)], [r * 0.42; 2], dark);
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
        self.face(z + 0.003, skin);
    }

    /// Eyes, brows, nose, mouth, beard: what of them is on our side of the head.
    fn face(&mut self, z: f32, skin: Fabric) {
        let (body, clothes) = (&self.figure.body, &self.figure.clothes);
        let (r, h, skull) = (body.build.head, body.head, body.skull);
        let at = |l: f32, d: f32, f: f32| h.at(skull, [l * r, d * r, f * r]);
        let plain = |c: Colour| Fabric::plain(c);
        let seen = |l: f32, f: f32| l * h.left[2] + f * h.front[2];
        if seen(0.0, 1.0) > 0.05 && clothes.beard {
            let ends = [at(-0.25, 0.78, 0.42), at(0.25, 0.78, 0.42)];
            self.limb(z, Part::Head, ends, [r * 0.42; 2], plain(clothes.hair_colour));
        }
        if seen(0.0, 1.0) > 0.15 {
            let mouth = [at(-0.26, 0.62, 0.80), at(0.26, 0.62, 0.80)];
            let lips = mix(clothes.skin, [150.0, 30.0, 40.0], 0.6);
            self.limb(z + 0.0005, Part::Head, mouth, [r * 0.075; 2], plain(lips));
        }
        for sign in SIDES {
            if seen(sign * 0.42, 0.9) > 0.18 {
                let white = [at(sign * 0.30, -0.10, 0.90), at(sign * 0.50, -0.10, 0.84)];
                self.limb(z + 0.001, Part::Head, white, [r * 0.13; 2], plain([245.0, 245.0, 240.0]));
                let pupil = at(sign * 0.40, -0.10, 0.90);
                self.limb(z + 0.0012, Part::Head, [pupil; 2], [r * 0.11; 2], plain([35.0, 25.0, 20.0]));
                let brow = [at(sign * 0.20, -0.36, 0.88), at(sign * 0.60, -0.38, 0.76)];
                self.limb(z + 0.0013, Part::Head, brow, [r * 0.06; 2], plain(shaded(clothes.hair_colour, 0.8)));
                if clothes.glasses {
                    let rim = [at(sign * 0.22, -0.08, 0.93), at(sign * 0.58, -0.08, 0.86)];
                    self.limb(z + 0.0014, Part::Head, rim, [r * 0.22; 2], plain([30.0, 30.0, 38.0]));
                }
            }
        }
        if seen(0.0, 1.0) > -0.25 {
            let nose = [at(0.0, -0.08, 0.90), at(0.0, 0.18, 1.02)];
            let depth = if seen(0.0, 1.0) > 0.0 { z + 0.002 } else { z - 0.006 };
            let shade = plain(shaded(skin.at(0.0, 0.0), 0.80));
            self.limb(depth, Part::Head, nose, [r * 0.09, r * 0.17], shade);
        }
    }
}

fn sub3(a: Vector, b: Vector) -> Vector {
    along(a, -1.0, b)
}

fn unit(v: Vector) -> Vector {
    let length = dot(v, v).sqrt().max(1e-6);
    v.map(|c| c / length)
}
