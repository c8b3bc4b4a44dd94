//! Convex hulls.

use dyconv_data::raster::Point;

/// The smallest convex polygon around points.
pub(crate) fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    let mut border: Vec<Point> = Vec::with_capacity(2 * points.len());
    let mut walk = |points: &mut dyn Iterator<Item = Point>| {
        let start = border.len();
        for p in points {
            while let [.., a, b] = border[start..] {
                let turn = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
                if turn > 0.0 {
                    break;
                }
                border.pop();
            }
            border.push(p);
        }
        // The last point is the first of the return path.
        border.pop();
    };
    walk(&mut points.iter().copied());
    walk(&mut points.iter().rev().copied());
    if border.is_empty() { points } else { border }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hull_leaves_out_what_is_inside() {
        let points = vec![[0.0, 0.0], [2.0, 1.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [1.0, 3.0], [4.0, 0.0]];
        assert_eq!(hull(points), vec![[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]);
        assert_eq!(hull(vec![[1.0, 1.0]; 3]), vec![[1.0, 1.0]]);
        assert_eq!(hull(vec![[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), vec![[0.0, 0.0], [2.0, 2.0]]);
    }
}
