use super::rand_augment::Op;
use super::*;
use crate::image::Rect;
use dyconv_task::Preprocessing;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn rgb(image_size: [usize; 2], resize: usize) -> Transform {
    let pre = Preprocessing { mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::usual(3, image_size, resize) };
    Transform::new(pre).unwrap()
}

fn noise(width: usize, height: usize) -> Image {
    Image::new(width, height, 3, (0..width * height * 3).map(|i| (i * 131 % 251) as u8).collect())
}

#[test]
fn the_default_is_evaluation() {
    let (image, pre) = (noise(20, 15), rgb([12, 12], 12));
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    assert_eq!(Augment::default().apply(&image, &pre, &mut rng).unwrap(), pre.evaluate(&image));
}

#[test]
fn the_state_of_the_generator_decides() {
    let (image, pre) = (noise(40, 30), rgb([16, 16], 16));
    let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, shift: 2, ..Augment::default() };
    let run = |seed| augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_certain_flip_mirrors() {
    let (image, pre) = (noise(8, 8), rgb([8, 8], 8));
    let augment = Augment { flip: 1.0, ..Augment::default() };
    let flipped = augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    assert_eq!(flipped, pre.evaluate(&image.flipped()));
}

#[test]
fn a_full_box_is_the_resized_image() {
    let (image, pre) = (noise(30, 30), rgb([16, 16], 16));
    let crop = Crop { scale: [1.0, 1.0], ratio: [1.0, 1.0] };
    let augment = Augment { random_resized_crop: Some(crop), ..Augment::default() };
    let whole = augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    assert_eq!(whole, pre.evaluate(&image));
}

#[test]
fn boxes_that_cannot_fit_fall_back_to_the_centre() {
    let crop = Crop { scale: [1.0, 1.0], ..Crop::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    assert_eq!(crop.draw(100, 10, &mut rng), Rect { left: 43, top: 0, width: 13, height: 10 });
    assert_eq!(crop.draw(10, 100, &mut rng), Rect { left: 0, top: 43, width: 10, height: 13 });
    assert_eq!(crop.draw(1, 1, &mut rng), Rect { left: 0, top: 0, width: 1, height: 1 });
}

#[test]
fn every_change_of_pixels_is_pillows() {
    let load = |name: &str| crate::load(&crate::testdata::path(name), &crate::DecodeOptions::default()).unwrap();
    let (input, expected) = (load("augment.in.png"), load("augment.out.png"));
    let mut all: Vec<(String, Image)> = Vec::new();
    let mut add = |name: String, change: &dyn Fn(&mut Image)| {
        let mut image = input.clone();
        change(&mut image);
        all.push((name, image));
    };
    for magnitude in [9, 30] {
        for sign in [1.0, -1.0] {
            for op in &Op::ALL[1..10] {
                add(format!("{op:?} {magnitude} {sign}"), &|image| op.apply(image, magnitude, sign));
            }
        }
        for op in &Op::ALL[10..] {
            add(format!("{op:?} {magnitude}"), &|image| op.apply(image, magnitude, 1.0));
        }
    }
    for factor in [0.0, 0.35, 1.6, 3.0] {
        add(format!("brightness {factor}"), &|image| color::brightness(image, factor));
        add(format!("contrast {factor}"), &|image| color::contrast(image, factor));
        add(format!("saturation {factor}"), &|image| color::saturation(image, factor));
    }
    for by in [-0.5, -0.13, 0.0, 0.02, 0.3, 0.5] {
        add(format!("hue {by}"), &|image| color::hue(image, by));
    }
    assert_eq!(expected.height, input.height * all.len());
    let wrong = |(i, (name, image)): (usize, &(String, Image))| {
        let expected = &expected.data[i * image.data.len()..][..image.data.len()];
        let differ = image.data.iter().zip(expected).filter(|(a, b)| a != b).count();
        (differ > 0).then(|| format!("{name}: {differ} of {} bytes", expected.len()))
    };
    let wrong: Vec<String> = all.iter().enumerate().filter_map(wrong).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn grey_images_change_as_three_equal_channels_do() {
    let grey = Image::new(19, 23, 1, (0..19 * 23).map(|i| (i * 131 % 251) as u8).collect());
    let three = Image { channels: 3, data: grey.data.iter().flat_map(|v| [*v; 3]).collect(), ..grey };
    for op in Op::ALL {
        let (mut one, mut all) = (grey.clone(), three.clone());
        op.apply(&mut one, 21, -1.0);
        op.apply(&mut all, 21, -1.0);
        assert_eq!(all.data.into_iter().step_by(3).collect::<Vec<_>>(), one.data, "{op:?}");
    }
    let mut turned = three.clone();
    color::hue(&mut turned, 0.3);
    assert_eq!(turned, three);
}

#[test]
fn without_strength_nothing_changes() {
    let (image, pre) = (noise(20, 20), rgb([20, 20], 20));
    let rand_augment = Some(RandAugment { ops: 0, magnitude: 30 });
    let none = Augment { rand_augment, ..Augment::default() };
    let run = |augment: &Augment| augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    assert_eq!(run(&none), pre.evaluate(&image));
    // Disabled operations draw no random numbers, so the others are unchanged.
    let flip = Augment { flip: 0.5, shift: 3, ..none };
    assert_eq!(run(&flip), run(&Augment { flip: 0.5, shift: 3, ..Augment::default() }));
    for op in &Op::ALL[..11] {
        let mut same = image.clone();
        op.apply(&mut same, 0, -1.0);
        assert_eq!(same, image, "{op:?} of magnitude 0");
    }
    let mut images = vec![1.0, 2.0, 3.0];
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    assert_eq!(Augment::default().mix(&mut images, [3, 1, 1, 1], &mut rng), 1.0);
    let one = Augment { mixup: 1.0, cutmix: 1.0, ..Augment::default() };
    assert_eq!(one.mix(&mut images[..1], [1, 1, 1, 1], &mut rng), 1.0, "one image has no partner");
    assert_eq!(images, [1.0, 2.0, 3.0]);
}

#[test]
fn jitter_reaches_its_whole_range_in_any_order() {
    let grey = Image::new(1, 1, 1, vec![100]);
    let bright = Augment { color_jitter: [0.4, 0.0, 0.0, 0.0], ..Augment::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut drawn = || {
        let mut image = grey.clone();
        jitter(bright.color_jitter, &mut image, &mut rng);
        image.data[0]
    };
    let values: Vec<u8> = (0..4000).map(|_| drawn()).collect();
    assert_eq!((values.iter().min(), values.iter().max()), (Some(&60), Some(&139)));
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 4000.0;
    assert!((98.0..101.0).contains(&mean), "{mean}");

    // If contrast is reduced before brightness is increased, the sum of a black and a white pixel grows. In the other
    // order white stays white, and the sum does not change. Half of the factors of each are on the required side of 1,
    // so the sum grows in an eighth of the draws, if both orders are equally likely.
    let two = Image::new(2, 1, 1, vec![0, 255]);
    let both = Augment { color_jitter: [0.5, 0.5, 0.0, 0.0], ..Augment::default() };
    let grew = |seed: &u64| {
        let mut image = two.clone();
        jitter(both.color_jitter, &mut image, &mut ChaCha8Rng::seed_from_u64(*seed));
        image.data.iter().map(|v| u32::from(*v)).sum::<u32>() > 260
    };
    let grew = (0..2000).filter(grew).count();
    assert!((180..300).contains(&grew), "{grew} of 2000");
}

#[test]
fn rand_augment_draws_from_the_whole_list() {
    let image = noise(9, 9);
    let once = RandAugment { ops: 1, magnitude: 20 };
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for op in Op::ALL {
        for sign in [1.0, -1.0] {
            let mut changed = image.clone();
            op.apply(&mut changed, 20, sign);
            expected.push(changed.data);
        }
    }
    expected.sort();
    expected.dedup();
    let mut seen: Vec<Vec<u8>> = (0..600)
        .map(|seed| {
            let mut changed = image.clone();
            once.apply(&mut changed, &mut ChaCha8Rng::seed_from_u64(seed));
            changed.data
        })
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, expected);
}

#[test]
fn erasing_has_its_probability() {
    let (image, pre) = (noise(24, 24), rgb([24, 24], 24));
    let run = |p| {
        let augment = Augment { random_erasing: p, ..Augment::default() };
        let changed =
            |seed| augment.apply(&image, &pre, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap() != pre.evaluate(&image);
        (0..200).filter(|seed| changed(*seed)).count()
    };
    assert_eq!(run(0.0), 0);
    assert!((70..130).contains(&run(0.5)), "{}", run(0.5));
    assert!(run(1.0) > 195);
}

#[test]
fn every_wrong_field_is_named() {
    let crop = |scale, ratio| Augment { random_resized_crop: Some(Crop { scale, ratio }), ..Augment::default() };
    let cases = [
        (Augment { flip: 1.5, ..Augment::default() }, "augment.flip: 1.5"),
        (Augment { flip: f32::NAN, ..Augment::default() }, "augment.flip: NaN"),
        (Augment { shift: 1 << 40, ..Augment::default() }, "augment.shift: 1099511627776"),
        (Augment { random_erasing: -0.1, ..Augment::default() }, "augment.random_erasing: -0.1"),
        (Augment { mixup: f32::INFINITY, ..Augment::default() }, "augment.mixup: inf"),
        (Augment { cutmix: -1.0, ..Augment::default() }, "augment.cutmix: -1"),
        (
            Augment { color_jitter: [0.1, f32::NAN, 0.0, 0.0], ..Augment::default() },
            "augment.color_jitter: [0.1, NaN, 0.0, 0.0]",
        ),
        (
            Augment { color_jitter: [0.0, 0.0, 0.0, 0.6], ..Augment::default() },
            "augment.color_jitter: [0.0, 0.0, 0.0, 0.6]",
        ),
        (
            Augment { rand_augment: Some(RandAugment { ops: 15, magnitude: 9 }), ..Augment::default() },
            "augment.rand_augment.ops: 15",
        ),
        (
            Augment { rand_augment: Some(RandAugment { ops: 2, magnitude: 31 }), ..Augment::default() },
            "augment.rand_augment.magnitude: 31",
        ),
        (crop([0.0, 1.0], [1.0, 1.0]), "augment.random_resized_crop.scale: [0.0, 1.0]"),
        (crop([0.5, 0.1], [1.0, 1.0]), "augment.random_resized_crop.scale: [0.5, 0.1]"),
        (crop([0.5, 1.0], [-1.0, 1.0]), "augment.random_resized_crop.ratio: [-1.0, 1.0]"),
    ];
    for (augment, expected) in cases {
        let error = augment.validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{expected}, expected ")), "{error}");
    }
}

#[test]
fn json_has_defaults_and_refuses_unknown_fields() {
    let augment: Augment = serde_json::from_str(r#"{"flip": 0.5, "random_resized_crop": {}}"#).unwrap();
    assert_eq!(augment, Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, ..Augment::default() });
    assert!(serde_json::from_str::<Augment>(r#"{"flop": 0.5}"#).is_err());
}

proptest! {
    #[test]
    fn boxes_lie_inside_the_image(
        w in 1usize..200, h in 1usize..200, seed: u64, a in 0.01f32..1.0, b in 0.01f32..1.0,
        r in 0.1f32..10.0, s in 0.1f32..10.0,
    ) {
        let crop = Crop { scale: [a.min(b), a.max(b)], ratio: [r.min(s), r.max(s)] };
        let rect = crop.draw(w, h, &mut ChaCha8Rng::seed_from_u64(seed));
        prop_assert!(rect.width >= 1 && rect.height >= 1, "{rect:?}");
        prop_assert!(rect.left + rect.width <= w && rect.top + rect.height <= h, "{rect:?}");
    }

    #[test]
    fn any_image_gives_the_size_that_was_asked_for(
        w in 1usize..90, h in 1usize..90, th in 1usize..40, tw in 1usize..40,
        resize in 1usize..60, seed: u64, shift in 0usize..9,
    ) {
        let pre = rgb([th, tw], resize);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, shift, ..Augment::default() };
        prop_assert_eq!(augment.apply(&noise(w, h), &pre, &mut rng).unwrap().len(), pre.elements());
        prop_assert_eq!(pre.evaluate(&noise(w, h)).len(), pre.elements());
    }
}
