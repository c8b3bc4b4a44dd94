//! OKS average precision against pycocotools, on the sets of `oks/generate.py`.

#[path = "oks/sets.rs"]
mod sets;

use dyconv_metrics::{MAX_DETECTIONS, keypoint_scores};

/// Both sum the same f64 numbers, in a different order.
const ROUNDING: f64 = 1e-9;

#[test]
fn every_stat_of_400_random_sets_is_that_of_pycocotools() {
    let rows = include_str!("oks/expected.csv").lines().skip(1);
    let (mut most, mut failed) = (0f64, Vec::new());
    for (seed, row) in rows.enumerate() {
        let row: Vec<f64> = row.split(',').map(|number| number.parse().unwrap()).collect();
        let set = sets::make(seed as u64, None);
        let joints = |d: &dyconv_metrics::Detection| d.score + d.joints[0][0] + d.joints.last().unwrap()[1];
        let total = set.detections.iter().map(joints).sum::<f64>();
        let made = [seed as f64, set.persons.len() as f64, set.detections.len() as f64];
        assert_eq!(row[..3], made, "sets.rs and generate.py make the same sets");
        assert!((row[3] - total).abs() <= 1e-9 * total.abs(), "set {seed}: joints differ, {} and {total}", row[3]);
        let scores = keypoint_scores(&set.persons, &set.detections, &set.sigmas).unwrap();
        assert_eq!(row.len(), 4 + scores.stats().len());
        for ((name, ours), theirs) in scores.stats().into_iter().zip(&row[4..]) {
            let difference = (ours.unwrap_or(-1.0) - theirs).abs();
            most = most.max(difference);
            if difference.is_nan() || difference > ROUNDING || (ours.is_none()) != (*theirs == -1.0) {
                failed.push(format!("set {seed}: {name} {ours:?}, pycocotools {theirs}"));
            }
        }
    }
    println!("largest difference {most:e}");
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Checks the content of the sets, so that the test above cannot silently degrade to easy ones.
#[test]
fn the_sets_hold_every_difficulty() {
    let mut skeletons = std::collections::BTreeSet::new();
    let [mut crowds, mut ignored, mut bare, mut zero_area, mut ties, mut full, mut hollow, mut unanswered] = [0; 8];
    for seed in 0..400 {
        let set = sets::make(seed, None);
        skeletons.insert(set.sigmas.len());
        crowds += set.persons.iter().filter(|p| p.crowd).count();
        ignored += set.persons.iter().filter(|p| p.ignore).count();
        bare += set.persons.iter().filter(|p| !p.ignore && p.joints.iter().all(Option::is_none)).count();
        zero_area += set.persons.iter().filter(|p| p.area == 0.0).count();
        let mut scores: Vec<f64> = set.detections.iter().map(|d| d.score).collect();
        scores.sort_by(f64::total_cmp);
        ties += usize::from(scores.windows(2).any(|pair| pair[0] == pair[1]));
        let images: std::collections::BTreeSet<u64> = set.detections.iter().map(|d| d.image).collect();
        let of = |image: u64| set.detections.iter().filter(|d| d.image == image).count();
        full += usize::from(images.iter().any(|image| of(*image) > MAX_DETECTIONS));
        hollow += usize::from(images.iter().any(|image| set.persons.iter().all(|p| p.image != *image)));
        unanswered += usize::from(set.persons.iter().any(|p| !images.contains(&p.image)));
    }
    assert_eq!(skeletons.into_iter().collect::<Vec<_>>(), [1, 4, 9, 17, 21, 68]);
    for (what, count) in [
        ("crowds", crowds),
        ("ignored persons", ignored),
        ("counting persons without joints", bare),
        ("persons of area 0", zero_area),
        ("sets with ties", ties),
        ("sets with more than 20 detections in an image", full),
        ("sets with an image of detections only", hollow),
        ("sets with an image of persons only", unanswered),
    ] {
        println!("{what}: {count}");
        assert!(count >= 10, "{what}: {count}");
    }
}
