//! Draws a skeleton on a picture.

use dyconv_task::Skeleton;

use crate::image::Image;
use crate::raster::{Point, Shape};

/// Colours of joints and bones on the left side, on the right side, and in the middle.
const COLOURS: [[f32; 3]; 3] = [[255.0, 140.0, 0.0], [30.0, 170.0, 255.0], [80.0, 230.0, 80.0]];
const LEFT: usize = 0;
const RIGHT: usize = 1;
const MIDDLE: usize = 2;

/// Draws the joints (x, y, score) of one person and the bones between them: orange on the person's left, blue on the
/// right, green in the middle.
///
/// Left and right are the first and the second of the skeleton's flip pairs. Keypoints that score below `least`, or are
/// not finite, are skipped, and so are the bones that end in them. Coordinates are in pixels; the centre of the first
/// is (0, 0). The thickness of lines is 1/80 of the diagonal of the box around the drawn joints, but at least a pixel
/// and a half. A grey image becomes RGB.
///
/// # Panics
/// If a bone or a flip pair refers to a joint that does not exist.
pub fn draw_skeleton(image: &mut Image, joints: &[[f32; 3]], skeleton: &Skeleton, least: f32) {
    if image.channels == 1 {
        image.data = image.data.iter().flat_map(|v| [*v; 3]).collect();
        image.channels = 3;
    }
    let mut sides = vec![MIDDLE; joints.len()];
    for [left, right] in &skeleton.flip_pairs {
        (sides[*left], sides[*right]) = (LEFT, RIGHT);
    }
    let shown = |joint: &[f32; 3]| joint[2] >= least && joint[0].is_finite() && joint[1].is_finite();
    let at = |joint: usize| Some([joints[joint][0], joints[joint][1]]).filter(|_| shown(&joints[joint]));
    let thick = (diagonal(joints.iter().filter(|joint| shown(joint))) / 80.0).max(1.5);

    // A dark rim first, so that the skeleton is visible on any background.
    for (rim, strength) in [(0.5 * thick.sqrt(), 0.6), (0.0, 1.0)] {
        let paint = |colour: usize| if rim > 0.0 { [0.0; 3] } else { COLOURS[colour] };
        for [a, b] in &skeleton.bones {
            let Some((from, to)) = at(*a).zip(at(*b)) else { continue };
            let side = match [sides[*a], sides[*b]] {
                [a, b] if a == b => a,
                [MIDDLE, side] | [side, MIDDLE] => side,
                _ => MIDDLE,
            };
            fill(image, &Shape::line(from, to, 0.5 * thick + rim), paint(side), strength);
        }
        for (joint, side) in sides.iter().enumerate() {
            let Some(at) = at(joint) else { continue };
            fill(image, &Shape::disc(at, thick + rim), paint(*side), strength);
        }
    }
    // A light centre marks the exact position of a joint.
    for joint in 0..joints.len() {
        let Some(at) = at(joint) else { continue };
        fill(image, &Shape::disc(at, 0.4 * thick), [255.0; 3], 1.0);
    }
}

/// Diagonal of the box around joints.
fn diagonal<'a>(joints: impl Iterator<Item = &'a [f32; 3]>) -> f32 {
    let (mut low, mut high): (Point, Point) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for joint in joints {
        for axis in 0..2 {
            low[axis] = low[axis].min(joint[axis]);
            high[axis] = high[axis].max(joint[axis]);
        }
    }
    (high[0] - low[0]).max(0.0).hypot((high[1] - low[1]).max(0.0))
}

fn fill(image: &mut Image, shape: &Shape, colour: [f32; 3], strength: f32) {
    let Image { width, height, data, .. } = image;
    shape.cover(*width, *height, |i, _, coverage| {
        for (old, new) in data[3 * i..3 * i + 3].iter_mut().zip(colour) {
            let was = f32::from(*old);
            *old = (was + strength * coverage * (new - was)).round() as u8;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skeleton() -> Skeleton {
        let joints = ["nose", "left", "right"].map(str::to_owned).to_vec();
        let bones = vec![[0, 1], [0, 2], [1, 2]];
        Skeleton { joints, bones, flip_pairs: vec![[1, 2]], sigmas: vec![0.1; 3], upper_body: vec![] }
    }

    fn drawn(joints: &[[f32; 3]], least: f32) -> Image {
        let mut image = Image::new(100, 80, 1, vec![100; 8000]);
        draw_skeleton(&mut image, joints, &skeleton(), least);
        image
    }

    fn pixel(image: &Image, x: usize, y: usize) -> [u8; 3] {
        image.data[3 * (y * image.width + x)..][..3].try_into().unwrap()
    }

    #[test]
    fn sides_have_their_colours_and_joints_a_light_middle() {
        let image = drawn(&[[50.0, 10.0, 1.0], [80.0, 60.0, 1.0], [20.0, 60.0, 1.0]], 0.5);
        assert_eq!(image.channels, 3);
        assert_eq!(pixel(&image, 65, 35), [255, 140, 0], "left");
        assert_eq!(pixel(&image, 35, 35), [30, 170, 255], "right");
        assert_eq!(pixel(&image, 50, 60), [80, 230, 80], "between left and right");
        assert_eq!(pixel(&image, 80, 60), [255; 3], "a joint");
        assert_eq!(pixel(&image, 50, 40), [100; 3], "far from all");
    }

    #[test]
    fn joints_below_the_threshold_are_left_out_with_their_bones() {
        let image = drawn(&[[50.0, 10.0, 0.4], [80.0, 60.0, 1.0], [20.0, 60.0, 0.5]], 0.5);
        assert_eq!(pixel(&image, 50, 10), [100; 3]);
        assert_eq!(pixel(&image, 65, 35), [100; 3]);
        assert_eq!(pixel(&image, 50, 60), [80, 230, 80]);
        assert_eq!(drawn(&[[50.0, 10.0, 0.0]; 3], 0.5).data, vec![100; 24_000]);
    }

    #[test]
    fn joints_that_are_nowhere_are_no_panic() {
        let far = [[f32::NAN, 10.0, 1.0], [1e30, -1e30, 1.0], [20.0, f32::INFINITY, 1.0]];
        drawn(&far, 0.5);
        drawn(&[[-500.0, 40.0, 1.0], [600.0, 40.0, 1.0], [50.0, 1e9, 1.0]], 0.5);
    }

    #[test]
    fn larger_persons_get_thicker_lines() {
        let count = |by: f32| {
            let mut image = Image::new(400, 400, 3, vec![0; 480_000]);
            let joints = [[200.0, 200.0, 1.0], [200.0 + by, 200.0 + by, 1.0], [200.0 - by, 200.0 + by, 1.0]];
            draw_skeleton(&mut image, &joints, &skeleton(), 0.5);
            // The thickness of the line from the first to the second joint.
            let middle = (200.0 + by / 2.0) as usize;
            (0..400).filter(|&x| pixel(&image, x, middle) == [255, 140, 0]).count()
        };
        assert!(count(180.0) > 2 * count(40.0), "{} {}", count(180.0), count(40.0));
    }
}
