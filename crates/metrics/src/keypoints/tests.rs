//! Hand-made cases and a naive implementation. `tests/pycocotools.rs` compares with pycocotools.

use proptest::prelude::*;

use super::*;

/// One joint; 2σ is 0.2, so at an area of 100 two pixels are one standard deviation.
const SIGMAS: [f64; 1] = [0.1];

fn person(image: u64, x: f64, area: f64) -> GroundTruth {
    let bbox = [x - 5.0, -5.0, 10.0, 10.0];
    GroundTruth { image, joints: vec![Some([x, 0.0])], area, bbox, crowd: false, ignore: false }
}

fn detection(image: u64, x: f64, score: f64) -> Detection {
    Detection { image, joints: vec![[x, 0.0]], score }
}

fn scores(truth: &[GroundTruth], detections: &[Detection]) -> KeypointScores {
    keypoint_scores(truth, detections, &SIGMAS).unwrap()
}

/// The distance from the keypoint that yields a similarity, at an area of 100.
fn off(similarity: f64) -> f64 {
    2.0 * (-2.0 * similarity.ln()).sqrt()
}

fn close(a: Option<f64>, b: f64) {
    assert!(a.is_some_and(|a| (a - b).abs() < 1e-12), "{a:?} and {b}");
}

#[test]
fn similarity_is_a_bell_of_the_distance() {
    let p = person(1, 10.0, 100.0);
    assert_eq!(oks(&p, &[[10.0, 0.0]], &SIGMAS), 1.0);
    assert!((oks(&p, &[[10.0, 2.0]], &SIGMAS) - (-0.5f64).exp()).abs() < 1e-12);
    assert!((oks(&p, &[[6.0, 0.0]], &SIGMAS) - (-2f64).exp()).abs() < 1e-12);
    assert!((oks(&p, &[[10.0 + off(0.7), 0.0]], &SIGMAS) - 0.7).abs() < 1e-12);
}

#[test]
fn joints_without_label_do_not_count() {
    let mut p = person(1, 0.0, 100.0);
    p.joints = vec![Some([0.0, 0.0]), None, Some([8.0, 0.0])];
    let sigmas = [0.1, 0.1, 0.2];
    let got = oks(&p, &[[2.0, 0.0], [999.0, 999.0], [8.0, 4.0]], &sigmas);
    assert!((got - (-0.5f64).exp()).abs() < 1e-12, "both are one standard deviation off");
}

#[test]
fn a_person_without_joints_is_found_in_the_doubled_box() {
    let p = GroundTruth { joints: vec![None], ..person(1, 5.0, 100.0) };
    // The box spans 0 to 10, extended −10 to 20.
    assert_eq!(oks(&p, &[[-10.0, 0.0]], &SIGMAS), 1.0);
    assert_eq!(oks(&p, &[[20.0, 0.0]], &SIGMAS), 1.0);
    assert!((oks(&p, &[[22.0, 0.0]], &SIGMAS) - (-0.5f64).exp()).abs() < 1e-12);
    assert!((oks(&p, &[[-12.0, 17.0]], &SIGMAS) - (-1f64).exp()).abs() < 1e-12);
}

#[test]
fn perfect_answers_score_one() {
    let truth = [person(1, 0.0, 2000.0), person(1, 90.0, 10_000.0), person(2, 0.0, 10.0)];
    let all = [detection(1, 0.0, 0.9), detection(1, 90.0, 0.8), detection(2, 0.0, 0.1)];
    assert!(scores(&truth, &all).stats().into_iter().all(|(_, value)| value == Some(1.0)));
    // No medium, no large persons.
    let small = scores(&truth[2..], &all[2..]);
    assert_eq!((small.ap, small.ap_medium, small.ap_large, small.ar_medium), (Some(1.0), None, None, None));
}

#[test]
fn nothing_to_find_has_no_score_and_nothing_found_scores_zero() {
    assert!(scores(&[], &[]).stats().into_iter().all(|(_, value)| value.is_none()));
    assert!(scores(&[], &[detection(1, 0.0, 1.0)]).stats().into_iter().all(|(_, value)| value.is_none()));
    let found = scores(&[person(1, 0.0, 2000.0)], &[]);
    assert_eq!((found.ap, found.ar, found.ap_medium, found.ap_large), (Some(0.0), Some(0.0), Some(0.0), None));
}

#[test]
fn similarity_decides_at_which_thresholds_a_person_is_found() {
    let truth = [person(1, 0.0, 100.0)];
    let found = scores(&truth, &[detection(1, off(0.76), 1.0)]);
    // Found at 0.50, 0.55, … 0.75.
    close(found.ap, 0.6);
    close(found.ar, 0.6);
    assert_eq!((found.ap50, found.ap75, found.ar50, found.ar75), (Some(1.0), Some(1.0), Some(1.0), Some(1.0)));
    let found = scores(&truth, &[detection(1, off(0.74), 1.0)]);
    assert_eq!((found.ap50, found.ap75), (Some(1.0), Some(0.0)));
}

#[test]
fn a_wrong_answer_hurts_only_where_it_is_surer() {
    let truth = [person(1, 0.0, 100.0)];
    let with = |score| scores(&truth, &[detection(1, 0.0, 0.5), detection(1, 50.0, score)]);
    close(with(0.4).ap, 1.0);
    close(with(0.6).ap, 0.5);
    assert_eq!(with(0.6).ar, Some(1.0));
    // Two persons, found by the first and third of three detections: precision 1 up to recall 0.5 (51 of 101), then 2/3.
    let truth = [person(1, 0.0, 100.0), person(2, 0.0, 100.0)];
    let answers = [detection(1, 0.0, 0.9), detection(1, 50.0, 0.8), detection(2, 0.0, 0.7)];
    close(scores(&truth, &answers).ap, (51.0 + 50.0 * 2.0 / 3.0) / 101.0);
}

#[test]
fn a_person_is_found_once() {
    let truth = [person(1, 0.0, 100.0)];
    close(scores(&truth, &[detection(1, 0.0, 0.9), detection(1, 0.0, 0.8)]).ap, 1.0);
    let both = [person(1, 0.0, 100.0), person(2, 0.0, 100.0)];
    let answers = [detection(1, 0.0, 0.9), detection(1, 0.0, 0.8), detection(2, 0.0, 0.7)];
    close(scores(&both, &answers).ap, (51.0 + 50.0 * 2.0 / 3.0) / 101.0);
}

#[test]
fn crowds_and_ignored_persons_take_answers_without_reward_or_harm() {
    let crowd = GroundTruth { crowd: true, ..person(1, 100.0, 100.0) };
    let ignored = GroundTruth { ignore: true, ..person(1, 200.0, 100.0) };
    let answers = |x: f64| [detection(1, x, 0.9), detection(1, x, 0.8), detection(1, 0.0, 0.7)];
    let truth = [crowd, ignored, person(1, 0.0, 100.0)];
    close(scores(&truth, &answers(100.0)).ap, 1.0);
    // An ignored person that is not a crowd matches one detection.
    close(scores(&truth, &answers(200.0)).ap, 0.5);
    close(scores(&truth, &answers(300.0)).ap, 1.0 / 3.0);
    // A person that counts is matched before a more similar ignored one.
    let truth = [GroundTruth { ignore: true, ..person(1, 1.0, 100.0) }, person(1, 0.0, 100.0)];
    assert_eq!(scores(&truth, &[detection(1, 1.0, 0.5)]).ap50, Some(1.0));
}

#[test]
fn only_the_twenty_best_answers_of_an_image_count() {
    let truth = [person(1, 0.0, 100.0)];
    let mut answers: Vec<_> = (0..20).map(|i| detection(1, 100.0 * f64::from(i + 1), 0.5)).collect();
    answers.push(detection(1, 0.0, 0.4));
    assert_eq!(scores(&truth, &answers).ar, Some(0.0));
    answers[20].score = 0.6;
    close(scores(&truth, &answers).ap, 1.0);
}

#[test]
fn equal_scores_keep_their_order() {
    let truth = [person(3, 0.0, 100.0)];
    let answers = [detection(3, 0.0, 0.5), detection(3, 50.0, 0.5)];
    close(scores(&truth, &answers).ap, 1.0);
    close(scores(&truth, &[answers[1].clone(), answers[0].clone()]).ap, 0.5);
    // Images are ordered by number, whatever the order of the slice.
    close(scores(&truth, &[answers[0].clone(), detection(2, 0.0, 0.5)]).ap, 0.5);
    close(scores(&truth, &[detection(4, 0.0, 0.5), answers[0].clone()]).ap, 1.0);
}

#[test]
fn what_cannot_be_scored_is_named() {
    let says = |truth: &[GroundTruth], detections: &[Detection], sigmas: &[f64], expected: &str| {
        assert_eq!(keypoint_scores(truth, detections, sigmas).unwrap_err().to_string(), expected);
    };
    let (p, d) = (person(7, 0.0, 1.0), detection(8, 0.0, 1.0));
    says(&[], &[], &[], "there are no sigmas, so no joints");
    says(&[], &[], &[0.1, 0.0], "the sigma of joint 1 is 0, expected a positive number");
    says(std::slice::from_ref(&p), &[], &[0.1, 0.1], "person 0 (image 7) has 1 joints, but there are sigmas for 2");
    says(&[], &[d.clone(), Detection { joints: vec![], ..d.clone() }], &SIGMAS, {
        "detection 1 (image 8) has 0 joints, but there are sigmas for 1"
    });
    let nan = Detection { score: f64::NAN, ..d.clone() };
    says(&[], &[nan], &SIGMAS, "detection 0 (image 8) has score NaN, expected a finite number");
    let far = Detection { joints: vec![[0.0, f64::INFINITY]], ..d };
    says(&[], &[far], &SIGMAS, "detection 0 (image 8) has a joint at inf, expected a finite number");
    let negative = GroundTruth { area: -1.0, ..p.clone() };
    says(&[negative], &[], &SIGMAS, "person 0 (image 7) has area -1, expected a finite number of 0 or more");
    let bbox = [0.0, 0.0, f64::NAN, 0.0];
    says(&[GroundTruth { bbox, ..p }], &[], &SIGMAS, "person 0 (image 7) has bbox NaN, expected a finite number");
}

#[test]
fn a_score_is_the_box_s_times_the_sure_joints_mean() {
    assert_eq!(rescore(0.5, &[0.2, 0.4, 0.8, 0.1], 0.2), 0.5 * (0.4 + 0.8) / 2.0);
    assert_eq!(rescore(0.5, &[0.2, 0.1], 0.2), 0.0);
    assert_eq!(rescore(0.5, &[], 0.2), 0.0);
}

#[test]
fn the_better_of_two_poses_of_one_person_is_kept() {
    let pose = |x: f64, area: f64, score: f64| Pose { joints: vec![[x, 0.0]], area, score };
    let poses = [pose(0.0, 100.0, 0.5), pose(off(0.95), 100.0, 0.8), pose(50.0, 100.0, 0.6)];
    assert_eq!(oks_nms(&poses, &SIGMAS, 0.9), Ok(vec![1, 2]));
    assert_eq!(oks_nms(&poses, &SIGMAS, 0.96), Ok(vec![1, 2, 0]));
    // The area is the mean of both: 200 for 100 and 300, so distances weigh less by √2.
    let poses = [pose(0.0, 100.0, 0.5), pose(off(0.7) * 2f64.sqrt(), 300.0, 0.4)];
    assert_eq!(oks_nms(&poses, &SIGMAS, 0.69), Ok(vec![0]));
    assert_eq!(oks_nms(&poses, &SIGMAS, 0.71), Ok(vec![0, 1]));
    // A dropped pose drops no other; among equal scores the first is better.
    let step = off(0.9) / 1.01;
    let chain = [pose(0.0, 100.0, 0.5), pose(step, 100.0, 0.5), pose(2.0 * step, 100.0, 0.5)];
    assert_eq!(oks_nms(&chain, &SIGMAS, 0.9), Ok(vec![0, 2]));
    assert_eq!(oks_nms(&[], &SIGMAS, 0.9), Ok(vec![]));
    let error = oks_nms(&[pose(0.0, f64::NAN, 1.0)], &SIGMAS, 0.9).unwrap_err().to_string();
    assert_eq!(error, "pose 0 has area NaN, expected a finite number of 0 or more");
    let error = oks_nms(&poses, &[0.1, 0.1], 0.9).unwrap_err().to_string();
    assert_eq!(error, "pose 0 has 1 joints, but there are sigmas for 2");
}

/// Average precision and recall by their definitions, without sorting or shared state: the rank of a detection is
/// counted, and the precision at a recall is the best over all ranks that reach it.
fn naive(truth: &[GroundTruth], detections: &[Detection], at: f64, area: [f64; 2]) -> Option<(f64, f64)> {
    let outside = |size: f64| size < area[0] || size > area[1];
    let ignored = |p: &GroundTruth| p.crowd || p.ignore || outside(p.area);
    let before = |a: usize, b: usize| {
        let (a, b) = ((&detections[a], a), (&detections[b], b));
        (-a.0.score, a.0.image, a.1).partial_cmp(&(-b.0.score, b.0.image, b.1)) == Some(std::cmp::Ordering::Less)
    };
    let mut ranked: Vec<usize> = Vec::new();
    for d in 0..detections.len() {
        let rivals = (0..detections.len()).filter(|&o| detections[o].image == detections[d].image && before(o, d));
        if rivals.count() < 20 {
            let place = ranked.iter().position(|&o| before(d, o)).unwrap_or(ranked.len());
            ranked.insert(place, d);
        }
    }
    let mut taken = vec![false; truth.len()];
    let mut outcomes = Vec::new();
    for d in ranked {
        let d = &detections[d];
        let mut take = |wanted: bool| {
            let mut chosen = None;
            let mut most = at;
            for (i, p) in truth.iter().enumerate() {
                let free = !taken[i] || p.crowd;
                let alike = oks(p, &d.joints, &SIGMAS);
                if p.image == d.image && ignored(p) != wanted && free && alike >= most {
                    (chosen, most) = (Some(i), alike);
                }
            }
            chosen.inspect(|i| taken[*i] = true).is_some()
        };
        if take(true) {
            outcomes.push(Some(true));
        } else if !take(false) && !outside(0.0) {
            // One joint has no extent, so the area of a detection is 0.
            outcomes.push(Some(false));
        }
    }
    let persons = truth.iter().filter(|p| !ignored(p)).count();
    if persons == 0 {
        return None;
    }
    let right = |upto: usize| outcomes[..upto].iter().filter(|o| **o == Some(true)).count() as f64;
    let precision = |recall: f64| {
        let reach = (1..=outcomes.len()).filter(|&n| right(n) / persons as f64 >= recall);
        reach.map(|n| right(n) / n as f64).fold(0.0, f64::max)
    };
    let mean = (0..=100).map(|i| precision(f64::from(i) * 0.01)).sum::<f64>() / 101.0;
    Some((mean, right(outcomes.len()) / persons as f64))
}

fn some_person() -> impl Strategy<Value = GroundTruth> {
    let areas = prop::sample::select(vec![100.0, 1024.0, 2000.0, 9216.0, 10_000.0]);
    (1u64..4, 0i8..12, areas, prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.8)).prop_map(
        |(image, x, area, crowd, ignore, labelled)| {
            let p = person(image, f64::from(x) * 4.0, area);
            GroundTruth { crowd, ignore, joints: p.joints.into_iter().map(|j| j.filter(|_| labelled)).collect(), ..p }
        },
    )
}

fn some_detection() -> impl Strategy<Value = Detection> {
    (1u64..5, -20i16..300, 0u8..6).prop_map(|(i, x, score)| detection(i, f64::from(x) / 5.0, f64::from(score) / 5.0))
}

proptest! {
    #[test]
    fn scores_are_those_of_the_definition(
        truth in prop::collection::vec(some_person(), 0..12),
        detections in prop::collection::vec(some_detection(), 0..50),
    ) {
        let scores = scores(&truth, &detections);
        let all = |area: [f64; 2]| {
            let each: Option<Vec<_>> =
                (0..10).map(|i| naive(&truth, &detections, 0.5 + 0.05 * f64::from(i), area)).collect();
            each.map(|each| (each.iter().map(|s| s.0).sum::<f64>() / 10.0, each.iter().map(|s| s.1).sum::<f64>() / 10.0))
        };
        let one = |at: f64| naive(&truth, &detections, at, [0.0, 1e10]);
        let [a, m, l] = [[0.0, 1e10], [1024.0, 9216.0], [9216.0, 1e10]].map(all);
        let precision = |s: Option<(f64, f64)>| s.map(|s| s.0);
        let recall = |s: Option<(f64, f64)>| s.map(|s| s.1);
        let expected = [
            precision(a), precision(one(0.5)), precision(one(0.75)), precision(m), precision(l),
            recall(a), recall(one(0.5)), recall(one(0.75)), recall(m), recall(l),
        ];
        for ((name, got), expected) in scores.stats().into_iter().zip(expected) {
            let same = match (got, expected) {
                (Some(got), Some(expected)) => (got - expected).abs() < 1e-9,
                (got, expected) => got == expected,
            };
            prop_assert!(same, "{name}: {got:?}, by definition {expected:?}");
        }
    }

    #[test]
    fn what_is_kept_is_unlike_and_what_is_dropped_is_like_something_better(
        places in prop::collection::vec((0i8..20, 0u8..5), 0..20),
    ) {
        let pose = |&(x, score): &(i8, u8)| {
            Pose { joints: vec![[f64::from(x), 0.0]], area: 100.0, score: f64::from(score) }
        };
        let poses: Vec<Pose> = places.iter().map(pose).collect();
        let kept = oks_nms(&poses, &SIGMAS, 0.5).unwrap();
        let alike = |a: usize, b: usize| {
            (-(poses[a].joints[0][0] - poses[b].joints[0][0]).powi(2) / 8.0).exp()
        };
        for (i, &a) in kept.iter().enumerate() {
            prop_assert!(kept[..i].iter().all(|&b| alike(a, b) <= 0.5 && poses[b].score >= poses[a].score));
        }
        for a in (0..poses.len()).filter(|a| !kept.contains(a)) {
            prop_assert!(kept.iter().any(|&b| alike(a, b) > 0.5 && poses[b].score >= poses[a].score));
        }
    }
}
