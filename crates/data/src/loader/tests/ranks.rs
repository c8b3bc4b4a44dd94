//! Several processes and mixed batches.

use super::*;
use crate::RandAugment;

#[test]
fn batches_are_mixed_by_their_number_alone() {
    // The fourth image is broken: the fifth is mixed with the third.
    let (_dir, data) = folder(&[3]);
    let run = |augment: Augment, threads, first| {
        let options = LoaderOptions { batch: 7, threads, max_broken: 1, ..LoaderOptions::default() };
        all(Loader::epoch(&data, Split::All, &pre(3, 6), Some(augment), &options, 2).starting_at(first))
    };
    let plain = run(Augment::default(), 1, 0);
    assert!(plain.iter().all(|b| b.classes().second == b.classes().labels && b.classes().lambda == vec![1.0; b.len()]));
    let mixed = run(Augment { mixup: 0.4, ..Augment::default() }, 1, 0);
    for (plain, mixed) in plain.iter().zip(&mixed) {
        assert_eq!((&plain.classes().labels, &plain.indices), (&mixed.classes().labels, &mixed.indices));
        let (n, elements) = (plain.len(), 3 * 6 * 6);
        for i in 0..n {
            let before = (i + n - 1) % n;
            assert_eq!(mixed.classes().second[i], plain.classes().labels[before]);
            let own = mixed.classes().lambda[i];
            for at in 0..elements {
                let expected =
                    own * plain.images[i * elements + at] + (1.0 - own) * plain.images[before * elements + at];
                assert_eq!(mixed.images[i * elements + at], expected);
            }
        }
    }
    let shares: Vec<u32> = mixed.iter().map(|batch| batch.classes().lambda[0].to_bits()).collect();
    assert!(shares.windows(2).all(|pair| pair[0] != pair[1]), "every batch has its own λ");
    let both = Augment {
        mixup: 1.0,
        cutmix: 1.0,
        random_erasing: 0.5,
        color_jitter: [0.4, 0.4, 0.4, 0.1],
        ..Augment::default()
    };
    let both = Augment { rand_augment: Some(RandAugment::default()), ..both };
    let one = run(both, 1, 0);
    assert_eq!(one, run(both, 3, 0));
    assert_eq!(one[3..], run(both, 2, 3));
}

#[test]
fn all_ranks_mix_with_the_same_weight() {
    let augment = Some(Augment { mixup: 0.7, cutmix: 0.7, ..Augment::default() });
    let shares = |rank| {
        let options = LoaderOptions { batch: 40, rank, world_size: 2, ..LoaderOptions::default() };
        let batches = all(Loader::epoch(&digits(), Split::Val, &pre(1, 8), augment, &options, 1));
        batches.iter().map(|batch| batch.classes().lambda[0]).collect::<Vec<_>>()
    };
    assert_eq!(shares(0), shares(1));
}

#[test]
fn wrong_shares_are_told() {
    let says = |batch, rank, world_size| {
        let options = LoaderOptions { batch, rank, world_size, ..LoaderOptions::default() };
        let mut epoch = Loader::epoch(&digits(), Split::Val, &pre(1, 8), None, &options, 0);
        epoch.next().unwrap().unwrap_err().to_string()
    };
    assert_eq!(says(9, 0, 2), "batch: 9 images cannot be shared equally by 2 processes");
    assert_eq!(says(8, 2, 2), "rank: 2 of 2 processes, expected 0 to world_size - 1");
    assert_eq!(says(8, 0, 0), "rank: 0 of 0 processes, expected 0 to world_size - 1");
}

#[test]
fn every_process_takes_every_step() {
    // Forty images, those of the second batch's second half broken; the last batch has one image for three processes.
    let (_dir, data) = folder(&[26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38]);
    let lens = |rank| {
        let options = LoaderOptions { batch: 39, rank, world_size: 3, max_broken: 13, ..LoaderOptions::default() };
        let batches = all(Loader::epoch(&data, Split::All, &pre(3, 6), None, &options, 0));
        batches.iter().map(|batch| (batch.number, batch.len())).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 2].map(lens), [[(0, 13), (1, 1)], [(0, 13), (1, 0)], [(0, 0), (1, 0)]]);
}

/// Concatenates the parts of one batch.
fn joined(parts: &[Batch]) -> Batch {
    let mut whole = parts[0].clone();
    for part in &parts[1..] {
        assert_eq!(part.number, whole.number);
        whole.images.extend(&part.images);
        let Targets::Classes(classes) = &mut whole.targets else { unreachable!() };
        classes.labels.extend(&part.classes().labels);
        classes.second.extend(&part.classes().second);
        classes.lambda.extend(&part.classes().lambda);
        whole.indices.extend(&part.indices);
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ranks_and_resumption_change_no_bit(
        each in 1usize..8, world_size in 1usize..6, first in 0usize..9, seed: u64, drop_last: bool,
        threads in 1usize..4,
    ) {
        let (_dir, data) = folder(&[5, 30]);
        let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, ..Augment::default() };
        let drawn = LoaderOptions { seed, shuffle: true, drop_last, ..LoaderOptions::default() };
        let one = LoaderOptions { batch: each * world_size, threads, max_broken: 2, ..drawn };
        let run = |options: &LoaderOptions| Loader::epoch(&data, Split::All, &pre(3, 9), Some(augment), options, 7);
        let ranks: Vec<Vec<Batch>> = (0..world_size)
            .map(|rank| all(run(&LoaderOptions { rank, world_size, ..one.clone() }).starting_at(first)))
            .collect();
        let steps = one.batches(40).saturating_sub(first);
        prop_assert!(ranks.iter().all(|batches| batches.len() == steps || world_size == 1));
        let together: Vec<Batch> = (0..ranks[0].len())
            .map(|step| joined(&ranks.iter().map(|batches| batches[step].clone()).collect::<Vec<_>>()))
            .filter(|batch| !batch.is_empty())
            .collect();
        let whole: Vec<Batch> = all(run(&one)).into_iter().filter(|batch| batch.number >= first).collect();
        prop_assert!(together == whole);
        for batches in &ranks {
            for (n, batch) in batches.iter().enumerate() {
                let left = 40 - (first + n) * one.batch;
                let most = one.batch.min(left).div_ceil(world_size);
                prop_assert!(batch.len() <= most);
            }
        }
    }
}
