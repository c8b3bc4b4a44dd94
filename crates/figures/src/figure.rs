//! A dressed body in the picture: its parts, farthest first.

use dyconv_data::raster::{Point, Shape, length, sub};

use crate::body::Body;
use crate::canvas::{Canvas, Fabric, Surface};
use crate::clothes::Clothes;
use crate::hull::hull;
use crate::space::{Vector, between};

/// The part of a figure that a pixel shows. Paired parts: left, right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
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
    /// The owner id of this part of a figure (from 0).
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
pub(crate) fn figure_of(owner: u16) -> Option<usize> {
    (usize::from(owner) / 32).checked_sub(1)
}

/// A body placed in the picture.
pub(crate) struct Figure {
    pub body: Body,
    pub clothes: Clothes,
    /// Midpoint of the hips, in pixels.
    pub origin: Point,
    /// Height of an upright adult in pixels.
    pub height: f32,
}

/// A piece to be painted.
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

    /// Paints the figure with this number (from 0).
    pub fn paint(&self, canvas: &mut Canvas, number: usize) {
        let mut pieces = Pieces { figure: self, pieces: Vec::with_capacity(48) };
        pieces.add_trunk();
        pieces.add_legs();
        pieces.add_arms();
        pieces.add_head();
        let mut pieces = pieces.pieces;
        pieces.sort_by(|a, b| a.depth.total_cmp(&b.depth));
        for piece in pieces {
            canvas.fill(&piece.shape, piece.part.owner(number), |p| piece.surface.at(p));
        }
    }

    /// Whether a joint is visible, given the owner of the joint's pixel.
    pub fn shows(&self, number: usize, joint: usize, owner: u16) -> bool {
        let is = |parts: &[Part]| parts.iter().any(|part| part.owner(number) == owner);
        let body = &self.body;
        let side = (joint + 1) % 2;
        // Keypoints of the trunk are visible through clothes, but not through the trunk itself.
        let beside = |middle: Vector, slack: f32| body.joints[joint][2] > middle[2] - slack;
        let toward = |point: Vector| between(body.skull, point)[2] / body.build.head;
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

/// The pieces of a figure, unordered; depths and radii are fractions of its height.
pub(crate) struct Pieces<'a> {
    pub figure: &'a Figure,
    pieces: Vec<Piece>,
}

impl Pieces<'_> {
    fn push(&mut self, depth: f32, part: Part, shape: Shape, surface: Surface) {
        self.pieces.push(Piece { depth, part, shape, surface });
    }

    /// A limb between two points of the body.
    pub fn limb(&mut self, depth: f32, part: Part, ends: [Vector; 2], radii: [f32; 2], fabric: Fabric) {
        let f = self.figure;
        let ends = ends.map(|v| f.place(v));
        let radii = radii.map(|r| (r * f.height).max(0.7));
        let (way, span) = (sub(ends[1], ends[0]), length(sub(ends[1], ends[0])));
        let direction = if span > 0.5 { way.map(|c| c / span) } else { [0.0, 1.0] };
        let radius = radii[0].max(radii[1]);
        let surface = Surface { fabric, origin: ends[0], direction, radius, light: f.clothes.light };
        self.push(depth, part, Shape::Capsule { ends, radii }, surface);
    }

    /// A convex piece of cloth around points of the body, expanded by `radius`, that hangs along `down`.
    pub fn cloth(&mut self, depth: f32, part: Part, points: &[Vector], radius: f32, fabric: Fabric, down: Vector) {
        let f = self.figure;
        let corners = hull(points.iter().map(|v| f.place(*v)).collect());
        let down = [down[0], down[1]];
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
}
