//! A whole picture: background, figures one behind the other, things in front of them, and the labels of the joints.

use dyconv_data::raster::{Point, Shape};
use dyconv_data::{Image, Split};
use rand::Rng;

use crate::body::Body;
use crate::canvas::{Canvas, Colour, Fabric, Surface, any_colour, hashed, mix, shaded, smooth_noise};
use crate::clothes::Clothes;
use crate::figure::{Figure, figure_of};
use crate::picture::{FigurePicture, LabelledFigure};
use crate::random::{Random, generator};

/// Owner of pixels that show a thing instead of a figure.
const THING: u16 = 1;
/// Fraction of a figure that must be visible for its joints to be labelled.
const LEAST_SEEN: f32 = 0.2;

/// Picture `index` of a split ([`Split::All`] counts as training); depends only on the arguments.
pub fn figure_picture(seed: u64, split: Split, index: u64) -> FigurePicture {
    draw(&mut generator(seed, split, index))
}

/// Draws a picture and labels it.
fn draw(rng: &mut Random) -> FigurePicture {
    let [width, height] = std::array::from_fn(|_| rng.random_range(24..=40) * 8);
    let mut canvas = Canvas::new(width, height);
    background(&mut canvas, rng);
    for _ in 0..rng.random_range(0..14) {
        thing(&mut canvas, 0, 0.03..0.25, rng);
    }
    let figures = place_figures([width as f32, height as f32], rng);
    let mut whole = Vec::with_capacity(figures.len());
    for (number, figure) in figures.iter().enumerate() {
        figure.paint(&mut canvas, number);
        whole.push(Extent::of(&canvas, number));
        if rng.random_bool(0.12) {
            thing(&mut canvas, THING, 0.05..0.2, rng);
        }
    }
    for _ in 0..[0, 0, 1, 1, 2, 3][rng.random_range(0..6)] {
        thing(&mut canvas, THING, 0.04..0.22, rng);
    }
    let persons = figures.iter().zip(&whole).enumerate();
    let persons = persons.filter_map(|(number, (figure, whole))| Some(label(&canvas, figure, number, whole.as_ref()?)));
    let persons = persons.collect();
    FigurePicture { image: develop(&canvas, rng), persons }
}

/// The labels of a figure in a finished picture; `whole` is the extent of the figure before anything was painted over
/// it.
fn label(canvas: &Canvas, figure: &Figure, number: usize, whole: &Extent) -> LabelledFigure {
    let seen = Extent::of(canvas, number).map_or(0, |seen| seen.pixels);
    let labelled = seen as f32 >= LEAST_SEEN * whole.pixels as f32;
    let joints = std::array::from_fn(|joint| {
        let at = figure.place(figure.body.joints[joint]).map(|c| (10.0 * c).round() / 10.0);
        let [x, y] = at.map(f32::round);
        let inside = x >= 0.0 && y >= 0.0 && x < canvas.width as f32 && y < canvas.height as f32;
        if !inside || !labelled {
            return ([0.0; 2], 0);
        }
        let owner = canvas.owner[y as usize * canvas.width + x as usize];
        (at, if figure.shows(number, joint, owner) { 2 } else { 1 })
    });
    LabelledFigure { joints, bbox: whole.bbox, area: whole.pixels as f32 }
}

/// The extent of a figure.
struct Extent {
    pixels: usize,
    /// Left, top, width, height.
    bbox: [f32; 4],
}

impl Extent {
    fn of(canvas: &Canvas, number: usize) -> Option<Self> {
        let (mut low, mut high, mut pixels) = ([usize::MAX; 2], [0; 2], 0);
        for (y, row) in canvas.owner.chunks_exact(canvas.width).enumerate() {
            for (x, owner) in row.iter().enumerate() {
                if figure_of(*owner) == Some(number) {
                    pixels += 1;
                    low = [low[0].min(x), low[1].min(y)];
                    high = [high[0].max(x), high[1].max(y)];
                }
            }
        }
        let side = |axis: usize| (high[axis] + 1 - low[axis]) as f32;
        (pixels > 0).then(|| Self { pixels, bbox: [low[0] as f32, low[1] as f32, side(0), side(1)] })
    }
}

/// Figures at their positions, farthest first.
fn place_figures([width, height]: [f32; 2], rng: &mut Random) -> Vec<Figure> {
    let count = [1, 1, 1, 1, 1, 2, 2, 2, 3, 4][rng.random_range(0..10)];
    let light = if rng.random_bool(0.5) { 0.4 } else { -0.4 };
    let mut figures: Vec<Figure> = Vec::new();
    let mut boxes: Vec<[Point; 2]> = Vec::new();
    for _ in 0..count {
        let body = Body::draw(rng);
        let share = match rng.random_range(0..10) {
            0 => rng.random_range(1.0..1.6),
            1..7 if count == 1 => rng.random_range(0.6..1.0),
            _ => rng.random_range(0.38..0.8),
        };
        let tall = share * width.min(height) * 1.05;
        let clothes = Clothes::draw(rng, tall, light);
        let mut figure = Figure { body, clothes, origin: [0.0; 2], height: tall };
        // The bounds of the joints, with room for the thickness of the body.
        let points = figure.body.joints.map(|j| figure.place(j));
        let low: Point = std::array::from_fn(|i| points.iter().fold(f32::INFINITY, |m, p| m.min(p[i])) - 0.05 * tall);
        let high: Point =
            std::array::from_fn(|i| points.iter().fold(f32::NEG_INFINITY, |m, p| m.max(p[i])) + 0.05 * tall);
        for _ in 0..8 {
            figure.origin = std::array::from_fn(|i| {
                let room = [width, height][i];
                let size = high[i] - low[i];
                // Mostly inside, sometimes cut by the border.
                let over = if rng.random_bool(0.2) { 0.45 * size } else { 0.0 };
                let (first, last) = (-over, room - size + over);
                let start = if first < last { rng.random_range(first..last) } else { (first + last) / 2.0 };
                start - low[i]
            });
            let around = [low, high].map(|corner| [corner[0] + figure.origin[0], corner[1] + figure.origin[1]]);
            if boxes.iter().all(|other| overlap(&around, other) < 0.45) {
                boxes.push(around);
                figures.push(figure);
                break;
            }
        }
    }
    // Larger figures are nearer.
    figures.sort_by(|a, b| a.height.total_cmp(&b.height));
    figures
}

/// Fraction of the smaller of two boxes that is inside the other.
fn overlap(a: &[Point; 2], b: &[Point; 2]) -> f32 {
    let common = |i: usize| (a[1][i].min(b[1][i]) - a[0][i].max(b[0][i])).max(0.0);
    let area = |c: &[Point; 2]| (c[1][0] - c[0][0]) * (c[1][1] - c[0][1]);
    common(0) * common(1) / area(a).min(area(b)).max(1.0)
}

fn background(canvas: &mut Canvas, rng: &mut Random) {
    let colours: [Colour; 4] = std::array::from_fn(|_| any_colour(rng));
    let [width, height] = [canvas.width as f32, canvas.height as f32];
    let kind = rng.random_range(0..4);
    let salt = rng.random();
    let grain = rng.random_range(0.02..0.2) * width;
    let horizon = rng.random_range(0.35..0.8) * height;
    let floor = Fabric::draw(rng, 0.12 * width);
    let wall = Fabric::draw(rng, 0.15 * width);
    for (i, pixel) in canvas.pixels.iter_mut().enumerate() {
        let [x, y] = [(i % canvas.width) as f32, (i / canvas.width) as f32];
        let [across, down] = [x / width, y / height];
        *pixel = match kind {
            // Four corners.
            0 => mix(mix(colours[0], colours[1], across), mix(colours[2], colours[3], across), down),
            // Clouds of two colours.
            1 => mix(colours[0], colours[1], clouds(x / grain, y / grain, salt)),
            // Sky and ground.
            2 if y < horizon => mix(colours[0], shaded(colours[0], 1.4), y / horizon),
            2 => mix(colours[1], shaded(colours[1], 0.6), clouds(x / grain, 3.0 * y / grain, salt)),
            // Wall and floor.
            _ if y < horizon => wall.at(y, x),
            _ => floor.at(y, x),
        };
    }
}

/// Noise of two scales.
fn clouds(x: f32, y: f32, salt: u32) -> f32 {
    0.65 * smooth_noise(x, y, salt) + 0.35 * smooth_noise(3.1 * x, 3.1 * y, salt ^ 1)
}

/// A thing at a random place: a box, a ball, a pole, a bush, a limb without a body.
fn thing(canvas: &mut Canvas, owner: u16, sizes: std::ops::Range<f32>, rng: &mut Random) {
    let [width, height] = [canvas.width as f32, canvas.height as f32];
    let size = rng.random_range(sizes) * width.min(height);
    let centre = [rng.random_range(0.0..width), rng.random_range(0.0..height)];
    let (sin, cos) = rng.random_range(0.0..std::f32::consts::PI).sin_cos();
    let ratio = rng.random_range(0.35..1.0f32);
    let at = |a: f32, b: f32| [centre[0] + a * cos - b * sin, centre[1] + a * sin + b * cos];
    let fabric = Fabric::draw(rng, 0.4 * size);
    let light = [rng.random_range(0.0..0.5), rng.random_range(-0.4..0.4)];
    let surface = |radius: f32| Surface { fabric, origin: centre, direction: [cos, sin], radius, light };
    match rng.random_range(0..5) {
        0 => {
            let corners = vec![
                at(-size, -size * ratio),
                at(size, -size * ratio),
                at(size, size * ratio),
                at(-size, size * ratio),
            ];
            let shape = Shape::Polygon { corners, radius: 0.0 };
            canvas.fill(&shape, owner, |p| surface(size * ratio).at(p));
        }
        1 => {
            let shape = Shape::Ellipse { centre, axis: [cos, sin], radii: [size, size * ratio] };
            canvas.fill(&shape, owner, |p| surface(size * ratio).at(p));
        }
        2 => {
            let radius = (0.12 * size * ratio).max(1.0);
            let shape = Shape::line(at(-2.5 * size, 0.0), at(2.5 * size, 0.0), radius);
            canvas.fill(&shape, owner, |p| surface(radius).at(p));
        }
        3 => {
            for _ in 0..rng.random_range(5..14) {
                let [dx, dy] = std::array::from_fn(|_| rng.random_range(-0.7..0.7) * size);
                let shape = Shape::disc([centre[0] + dx, centre[1] + dy], size * rng.random_range(0.15..0.4));
                let shade = rng.random_range(0.75..1.2);
                canvas.fill(&shape, owner, |p| shaded(surface(size).at(p), shade));
            }
        }
        _ => {
            let radii = [0.28 * size * ratio, 0.20 * size * ratio];
            let bend = rng.random_range(-1.0..1.0) * size;
            for ends in [[at(-size, 0.0), centre], [centre, at(0.8 * size, bend)]] {
                canvas.fill(&Shape::Capsule { ends, radii }, owner, |p| surface(radii[0]).at(p));
            }
        }
    }
}

/// Converts the canvas to bytes as a camera would: exposure, a tint, grain.
fn develop(canvas: &Canvas, rng: &mut Random) -> Image {
    let gain = rng.random_range(0.75..1.15);
    let tint: Colour = std::array::from_fn(|_| gain * rng.random_range(0.94..1.06));
    let (lift, grain, salt) = (rng.random_range(0.0..22.0), rng.random_range(0.0..14.0f32), rng.random());
    let mut data = Vec::with_capacity(3 * canvas.pixels.len());
    for (i, pixel) in canvas.pixels.iter().enumerate() {
        for (c, value) in pixel.iter().enumerate() {
            let noise = hashed(i as i32, c as i32, salt) - 0.5;
            data.push((lift + tint[c] * value + grain * noise) as u8);
        }
    }
    Image::new(canvas.width, canvas.height, 3, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Vector;
    use rand::SeedableRng;

    #[test]
    fn what_comes_in_front_hides_joints_and_hides_a_figure_in_the_end() {
        let mut rng = Random::from_seed([2; 32]);
        let mut canvas = Canvas::new(300, 300);
        let body = Body::draw(&mut rng);
        let clothes = Clothes::draw(&mut rng, 200.0, 0.4);
        let figure = Figure { body, clothes, origin: [150.0, 150.0], height: 200.0 };
        figure.paint(&mut canvas, 0);
        let whole = Extent::of(&canvas, 0).unwrap();
        let before = label(&canvas, &figure, 0, &whole);
        assert!(before.joints.iter().filter(|joint| joint.1 == 2).count() > 8, "{before:?}");

        let wall = |height: f32| {
            let corners = vec![[-10.0, -10.0], [310.0, -10.0], [310.0, height], [-10.0, height]];
            Shape::Polygon { corners, radius: 0.0 }
        };
        // Down to the hips.
        let edge = 151.5;
        canvas.fill(&wall(edge), THING, |_| [0.0; 3]);
        let half = label(&canvas, &figure, 0, &whole);
        assert_eq!((half.bbox, half.area), (before.bbox, before.area), "box and area are those of the whole figure");
        for (before, after) in before.joints.iter().zip(half.joints) {
            assert_eq!(after.0, before.0);
            assert_eq!(after.1, if before.0[1] < edge { 1 } else { before.1 });
        }
        canvas.fill(&wall(before.bbox[1] + 0.98 * before.bbox[3]), THING, |_| [0.0; 3]);
        assert_eq!(label(&canvas, &figure, 0, &whole).joints, [([0.0; 2], 0); 17], "too little of it is seen");
    }

    #[test]
    fn joints_outside_the_picture_have_no_label() {
        let mut rng = Random::from_seed([2; 32]);
        let body = Body::draw(&mut rng);
        let clothes = Clothes::draw(&mut rng, 200.0, 0.4);
        let figure = Figure { body, clothes, origin: [0.0, 100.0], height: 200.0 };
        let mut canvas = Canvas::new(200, 200);
        figure.paint(&mut canvas, 0);
        let truth = label(&canvas, &figure, 0, &Extent::of(&canvas, 0).unwrap());
        let outside = |v: &Vector| {
            let [x, y] = figure.place(*v);
            x < -0.6 || y < -0.6 || x > 199.6 || y > 199.6
        };
        let mut cut = 0;
        for (joint, (at, v)) in figure.body.joints.iter().zip(truth.joints) {
            if outside(joint) {
                cut += 1;
                assert_eq!((at, v), ([0.0; 2], 0));
            }
        }
        assert!((3..15).contains(&cut), "{cut}");
    }
}
