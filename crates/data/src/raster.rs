//! Shapes with antialiased edges: the coverage of a pixel is computed from its distance to the border.
//!
//! Coordinates are pixels; the centre of the first pixel is (0, 0).

/// A point or vector of the picture.
pub type Point = [f32; 2];

/// A shape that can be drawn.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A line with round ends and a radius for each end.
    Capsule {
        /// Start and end point.
        ends: [Point; 2],
        /// Half the thickness at each end.
        radii: [f32; 2],
    },
    /// A convex or concave polygon, expanded by a radius and thereby rounded.
    Polygon {
        /// In order around the polygon.
        corners: Vec<Point>,
        /// Distance by which it is expanded.
        radius: f32,
    },
    /// An ellipse; `axis` is the unit vector along which it has the first radius.
    Ellipse {
        /// Its centre.
        centre: Point,
        /// Unit vector.
        axis: Point,
        /// Along and across the axis.
        radii: [f32; 2],
    },
}

impl Shape {
    /// A filled circle.
    pub fn disc(centre: Point, radius: f32) -> Self {
        Self::Capsule { ends: [centre, centre], radii: [radius, radius] }
    }

    /// A line with round ends, 2 · `radius` thick.
    pub fn line(from: Point, to: Point, radius: f32) -> Self {
        Self::Capsule { ends: [from, to], radii: [radius, radius] }
    }

    /// Signed distance to the border in pixels, negative inside. Accurate only near the border.
    #[inline]
    pub fn distance(&self, p: Point) -> f32 {
        match self {
            Self::Capsule { ends: [a, b], radii } => {
                let (along, to) = (sub(*b, *a), sub(p, *a));
                let t = (dot(to, along) / dot(along, along).max(1e-12)).clamp(0.0, 1.0);
                length([to[0] - t * along[0], to[1] - t * along[1]]) - (radii[0] + t * (radii[1] - radii[0]))
            }
            Self::Polygon { corners, radius } => polygon_distance(corners, p) - radius,
            Self::Ellipse { centre, axis, radii } => {
                let to = sub(p, *centre);
                let local = [dot(to, *axis) / radii[0], dot(to, [-axis[1], axis[0]]) / radii[1]];
                let reach = length(local);
                // First-order distance: value over gradient; at the centre it would be 0 / 0.
                let slope = length([local[0] / radii[0], local[1] / radii[1]]).max(1e-6);
                if reach < 1e-3 { -radii[0].min(radii[1]) } else { reach * (reach - 1.0) / slope }
            }
        }
    }

    /// Smallest and largest x and y.
    fn bounds(&self) -> [Point; 2] {
        let around = |points: &[Point], by: f32| {
            let low = points.iter().fold([f32::INFINITY; 2], |m, p| [m[0].min(p[0]), m[1].min(p[1])]);
            let high = points.iter().fold([f32::NEG_INFINITY; 2], |m, p| [m[0].max(p[0]), m[1].max(p[1])]);
            [low.map(|v| v - by), high.map(|v| v + by)]
        };
        match self {
            Self::Capsule { ends, radii } => around(ends, radii[0].max(radii[1])),
            Self::Polygon { corners, radius } => around(corners, *radius),
            Self::Ellipse { centre, radii, .. } => around(&[*centre], radii[0].max(radii[1])),
        }
    }

    /// Calls `paint` with the index (row by row), position and coverage in 0..=1 of every pixel with nonzero coverage.
    /// Shapes with NaN cover nothing.
    pub fn cover(&self, width: usize, height: usize, mut paint: impl FnMut(usize, Point, f32)) {
        let [low, high] = self.bounds();
        // Clamped before the cast, so that no number is too large for an index.
        let first = |v: f32, n: usize| (v - 1.0).ceil().clamp(0.0, n as f32) as usize;
        let end = |v: f32, n: usize| (v + 2.0).floor().clamp(0.0, n as f32) as usize;
        for y in first(low[1], height)..end(high[1], height) {
            for x in first(low[0], width)..end(high[0], width) {
                let p = [x as f32, y as f32];
                let coverage = (0.5 - self.distance(p)).clamp(0.0, 1.0);
                if coverage > 0.0 {
                    paint(y * width + x, p, coverage);
                }
            }
        }
    }
}

/// Signed distance to the border of a polygon, negative inside (by the number of edges that a ray crosses).
fn polygon_distance(corners: &[Point], p: Point) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    for (i, a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % corners.len()];
        let (edge, to) = (sub(b, *a), sub(p, *a));
        let t = (dot(to, edge) / dot(edge, edge).max(1e-12)).clamp(0.0, 1.0);
        let off = [to[0] - t * edge[0], to[1] - t * edge[1]];
        nearest = nearest.min(dot(off, off));
        if (a[1] > p[1]) != (b[1] > p[1]) && to[0] < (p[1] - a[1]) / edge[1] * edge[0] {
            inside = !inside;
        }
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

/// a − b.
#[inline]
pub fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

/// Scalar product.
#[inline]
pub fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

/// Euclidean length.
#[inline]
pub fn length(v: Point) -> f32 {
    dot(v, v).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sum of the coverage: the area in square pixels.
    fn area(shape: &Shape) -> f32 {
        let mut sum = 0.0;
        shape.cover(100, 80, |_, _, coverage| sum += coverage);
        sum
    }

    #[test]
    fn shapes_cover_their_area() {
        let near = |shape: &Shape, expected: f32| {
            let got = area(shape);
            assert!((got - expected).abs() < 0.01 * expected + 0.5, "{shape:?}: {got}, expected {expected}");
        };
        let pi = std::f32::consts::PI;
        near(&Shape::disc([40.3, 30.7], 12.0), pi * 144.0);
        near(&Shape::line([20.0, 20.0], [50.0, 60.0], 3.0), 50.0 * 6.0 + pi * 9.0);
        near(&Shape::Capsule { ends: [[20.0, 40.0], [60.0, 40.0]], radii: [10.0, 5.0] }, 600.0 + pi * 62.5);
        let square = vec![[20.0, 20.0], [50.0, 20.0], [50.0, 50.0], [20.0, 50.0]];
        near(&Shape::Polygon { corners: square.clone(), radius: 0.0 }, 900.0);
        near(&Shape::Polygon { corners: square, radius: 4.0 }, 900.0 + 4.0 * 120.0 + pi * 16.0);
        near(&Shape::Ellipse { centre: [50.0, 40.0], axis: [0.6, 0.8], radii: [30.0, 10.0] }, pi * 300.0);
        // Half of it is outside the picture.
        near(&Shape::disc([0.0, -0.5], 10.0), pi * 25.0 + 5.0);
    }

    #[test]
    fn absurd_shapes_cover_no_more_than_the_picture() {
        for far in [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e38] {
            for shape in [Shape::disc([far, 0.0], 3.0), Shape::line([0.0, 0.0], [far, far], 3.0)] {
                assert!(area(&shape) <= 8000.0, "{far}");
            }
        }
    }
}
