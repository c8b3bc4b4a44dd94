//! Vectors and frames of the space of the figures: x to the right of the picture, y down, z towards the viewer.

pub(crate) type Vector = [f32; 3];

/// a + t · b.
pub(crate) fn along(a: Vector, t: f32, b: Vector) -> Vector {
    [a[0] + t * b[0], a[1] + t * b[1], a[2] + t * b[2]]
}

/// The vector from `a` to `b`.
pub(crate) fn between(a: Vector, b: Vector) -> Vector {
    along(b, -1.0, a)
}

pub(crate) fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The vector scaled to length 1; `other` if it is too short to have a direction.
pub(crate) fn unit_or(v: Vector, other: Vector) -> Vector {
    let length = dot(v, v).sqrt();
    if length < 1e-4 { other } else { v.map(|c| c / length) }
}

/// `v` rotated about a unit vector by an angle in degrees.
pub(crate) fn turned(v: Vector, axis: Vector, degrees: f32) -> Vector {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let [sideways, onto] = [cross(axis, v), axis.map(|c| c * dot(axis, v) * (1.0 - cos))];
    std::array::from_fn(|i| v[i] * cos + sideways[i] * sin + onto[i])
}

/// The local axes of a part of a body, unit vectors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub left: Vector,
    pub down: Vector,
    pub front: Vector,
}

impl Frame {
    /// Upright and facing the viewer: its left is on the viewer's right.
    pub const FACING: Self = Self { left: [1.0, 0.0, 0.0], down: [0.0, 1.0, 0.0], front: [0.0, 0.0, 1.0] };

    pub fn turned(self, axis: Vector, degrees: f32) -> Self {
        let turn = |v| turned(v, axis, degrees);
        Self { left: turn(self.left), down: turn(self.down), front: turn(self.front) }
    }

    /// Bent forwards, sideways (to its left) and twisted to its left, in degrees.
    pub fn bent(self, forwards: f32, sideways: f32, twist: f32) -> Self {
        let f = self.turned(self.left, -forwards);
        let f = f.turned(f.front, sideways);
        f.turned(f.down, twist)
    }

    /// The point `origin` + left · l + down · d + front · f.
    pub fn at(&self, origin: Vector, [l, d, f]: Vector) -> Vector {
        along(along(along(origin, l, self.left), d, self.down), f, self.front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Vector, b: Vector) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} and {b:?}");
    }

    #[test]
    fn bends_go_where_they_say() {
        let up = |f: Frame| f.down.map(|c| -c);
        // Bending forwards moves the head towards the viewer; bending left moves it to the right of the picture.
        close(up(Frame::FACING.bent(90.0, 0.0, 0.0)), [0.0, 0.0, 1.0]);
        close(up(Frame::FACING.bent(0.0, 90.0, 0.0)), [1.0, 0.0, 0.0]);
        close(Frame::FACING.bent(0.0, 0.0, 90.0).front, [1.0, 0.0, 0.0]);
        close(Frame::FACING.at([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn frames_stay_right_handed_and_square() {
        let f = Frame::FACING.bent(31.0, -17.0, 55.0).turned([0.6, 0.0, 0.8], 123.0);
        close(cross(f.left, f.down), f.front);
        assert!(dot(f.left, f.front).abs() < 1e-6 && (dot(f.down, f.down) - 1.0).abs() < 1e-6);
    }
}
