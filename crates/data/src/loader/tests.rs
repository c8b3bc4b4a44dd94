mod ranks;

use super::*;
use crate::{Crop, OpenOptions, testdata};
use dyconv_task::Preprocessing;
use proptest::prelude::*;
use std::path::Path;

fn digits() -> Arc<Dataset> {
    Arc::new(Dataset::open("digits", &OpenOptions::default()).unwrap())
}

fn pre(channels: usize, side: usize) -> Transform {
    let [mean, std] = [vec![0.5; channels], vec![0.25; channels]];
    Transform::new(Preprocessing { mean, std, ..Preprocessing::usual(channels, [side, side], side) }).unwrap()
}

/// Two classes of twenty pictures each; those in `broken` are text.
fn folder(broken: &[usize]) -> (tempfile::TempDir, Arc<Dataset>) {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..40 {
        let path = dir.path().join(if i < 20 { "a" } else { "b" }).join(format!("{i:02}.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if broken.contains(&i) {
            std::fs::write(&path, "not a picture").unwrap();
        } else {
            let name = if i % 2 == 0 { "resize_down.in.png" } else { "resize_up.in.png" };
            std::fs::copy(testdata::path(name), &path).unwrap();
        }
    }
    let data = Dataset::open(dir.path().to_str().unwrap(), &OpenOptions { val_fraction: 0.0, seed: 0 }).unwrap();
    (dir, Arc::new(data))
}

fn indices(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.indices.clone()).collect()
}

fn all(epoch: Batches) -> Vec<Batch> {
    epoch.collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_epoch_has_every_image_once() {
    let data = digits();
    let options = LoaderOptions { batch: 100, shuffle: true, ..LoaderOptions::default() };
    let epoch = Loader::epoch(&data, Split::Val, &pre(1, 8), None, &options, 0);
    assert_eq!(epoch.batches(), 4);
    let batches = all(epoch);
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [100, 100, 100, 65]);
    assert_eq!(batches.iter().map(|b| b.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(batches[3].shape(), [65, 1, 8, 8]);
    assert_eq!(batches[3].images.len(), 65 * 64);
    let mut seen = indices(&batches);
    assert_ne!(seen, (0..365).collect::<Vec<_>>());
    seen.sort_unstable();
    assert_eq!(seen, (0..365).collect::<Vec<_>>());
    for batch in &batches {
        for (n, (&i, &label)) in batch.indices.iter().zip(&batch.classes().labels).enumerate() {
            assert_eq!(label, data.item(Split::Val, i).0);
            let expected = pre(1, 8).evaluate(&data.load(Split::Val, i, &crate::DecodeOptions::default()).unwrap());
            assert_eq!(batch.images[n * 64..][..64], expected);
        }
    }
}

#[test]
fn options_decide_about_order_and_the_last_batch() {
    let data = digits();
    let run = |options: &LoaderOptions, epoch| {
        indices(&all(Loader::epoch(&data, Split::Val, &pre(1, 8), None, options, epoch)))
    };
    let in_order = LoaderOptions { batch: 100, ..LoaderOptions::default() };
    assert_eq!(run(&in_order, 3), (0..365).collect::<Vec<_>>());
    assert_eq!(run(&LoaderOptions { drop_last: true, ..in_order.clone() }, 0), (0..300).collect::<Vec<_>>());
    let shuffled = LoaderOptions { shuffle: true, ..in_order };
    assert_eq!(run(&shuffled, 0), run(&shuffled, 0));
    assert_ne!(run(&shuffled, 0), run(&shuffled, 1), "every epoch has its own order");
    assert_ne!(run(&shuffled, 0), run(&LoaderOptions { seed: 1, ..shuffled.clone() }, 0));
}

#[test]
fn a_resumed_epoch_goes_on_where_it_stopped() {
    let data = digits();
    let options = LoaderOptions { batch: 64, shuffle: true, threads: 2, ..LoaderOptions::default() };
    let augment = Some(Augment { shift: 1, ..Augment::default() });
    let epoch = || Loader::epoch(&data, Split::Val, &pre(1, 8), augment, &options, 5);
    assert_eq!(all(epoch().starting_at(4)), all(epoch())[4..]);
    assert_eq!(all(epoch().starting_at(6)), []);
}

#[test]
fn broken_images_are_left_out_and_listed() {
    // Batches of five in order: every image of the third is broken.
    let (_dir, data) = folder(&[3, 10, 11, 12, 13, 14, 39]);
    let options = LoaderOptions { batch: 5, threads: 3, max_broken: 7, ..LoaderOptions::default() };
    let mut epoch = Loader::epoch(&data, Split::All, &pre(3, 6), None, &options, 0);
    let batches: Vec<Batch> = epoch.by_ref().collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 5, 5, 5, 5, 5, 4]);
    assert_eq!(batches.iter().map(|b| b.number).collect::<Vec<_>>(), [0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(batches[0].indices, [0, 1, 2, 4]);
    let fourth = pre(3, 6).evaluate(&data.load(Split::All, 4, &crate::DecodeOptions::default()).unwrap());
    assert_eq!(batches[0].images[3 * fourth.len()..], fourth);
    let names: Vec<&str> = epoch.broken().iter().map(|broken| broken.name.as_str()).collect();
    assert_eq!(names, ["a/03.png", "a/10.png", "a/11.png", "a/12.png", "a/13.png", "a/14.png", "b/39.png"]);
    assert!(epoch.broken()[0].reason.ends_with("a/03.png: not a JPEG, PNG, WebP, BMP, GIF or TIFF image"));
}

#[test]
fn too_many_broken_images_are_an_error() {
    let (_dir, data) = folder(&[0, 1, 2, 3, 9]);
    let options = LoaderOptions { batch: 5, max_broken: 3, ..LoaderOptions::default() };
    let mut epoch = Loader::epoch(&data, Split::All, &pre(3, 6), None, &options, 0);
    let error = epoch.next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("all images: 4 broken images, but at most 3 are allowed: "), "{error}");
    assert!(error.contains("a/02.png: not a JPEG") && error.ends_with("; …") && !error.contains("a/03.png"), "{error}");
    assert!(epoch.next().is_none());
}

#[test]
fn a_file_that_vanished_is_broken() {
    let (dir, data) = folder(&[]);
    std::fs::remove_file(dir.path().join(Path::new("a/07.png"))).unwrap();
    let options = LoaderOptions { max_broken: 1, ..LoaderOptions::default() };
    let mut epoch = Loader::epoch(&data, Split::All, &pre(3, 6), None, &options, 0);
    assert_eq!(epoch.by_ref().map(|batch| batch.unwrap().len()).sum::<usize>(), 39);
    assert!(epoch.broken()[0].reason.contains("a/07.png: cannot be read: "));
}

#[test]
fn broken_members_of_a_shard_are_left_out_as_files_are() {
    let mut tar = tar::Builder::new(Vec::new());
    let (good, cut) = (testdata::bytes("jpeg_420.in.jpg"), testdata::bytes("jpeg_420.in.jpg")[..400].to_vec());
    for (key, image) in [&good, &cut, &good, &b"not a picture".to_vec(), &good].into_iter().enumerate() {
        let label = ["a", "b"][key % 2].as_bytes();
        for (ending, data) in [("jpg", image.as_slice()), ("cls", label)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            tar.append_data(&mut header, format!("{key}.{ending}"), data).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s.tar"), tar.into_inner().unwrap()).unwrap();
    let open = OpenOptions { val_fraction: 0.0, seed: 0 };
    let data = Arc::new(Dataset::open(dir.path().to_str().unwrap(), &open).unwrap());
    let options = LoaderOptions { batch: 2, max_broken: 2, ..LoaderOptions::default() };
    let mut epoch = Loader::epoch(&data, Split::All, &pre(3, 6), None, &options, 0);
    assert_eq!(indices(&all_of(&mut epoch)), [0, 2, 4]);
    let names: Vec<&str> = epoch.broken().iter().map(|broken| broken.name.as_str()).collect();
    assert_eq!(names, ["s.tar/1.jpg", "s.tar/3.jpg"]);
    assert!(epoch.broken()[0].reason.ends_with("s.tar/1.jpg: cut off: the JPEG ends before its end marker"));
    let strict = LoaderOptions { max_broken: 1, ..options };
    let error = Loader::epoch(&data, Split::All, &pre(3, 6), None, &strict, 0).find_map(Result::err).unwrap();
    assert!(error.message.starts_with("2 broken images, but at most 1 are allowed: "), "{error}");
}

#[test]
fn wrong_settings_are_the_first_answer() {
    let data = digits();
    let first = |pre: &Transform, augment, batch| {
        let options = LoaderOptions { batch, ..LoaderOptions::default() };
        let mut epoch = Loader::epoch(&data, Split::Val, pre, augment, &options, 0);
        let error = epoch.next().unwrap().unwrap_err().name;
        assert!(epoch.next().is_none());
        error
    };
    assert_eq!(first(&pre(1, 8), None, 0), "batch");
    assert_eq!(first(&pre(1, 8), Some(Augment { flip: 2.0, ..Augment::default() }), 1), "augment.flip");
}

#[test]
fn an_epoch_dropped_early_ends_its_threads() {
    let (_dir, data) = folder(&[]);
    for threads in [1, 3] {
        for taken in 0..3 {
            let options = LoaderOptions { batch: 4, threads, prefetch: 5, ..LoaderOptions::default() };
            let mut epoch = Loader::epoch(&data, Split::All, &pre(3, 20), None, &options, 0);
            (0..taken).for_each(|_| drop(epoch.next().unwrap().unwrap()));
            drop(epoch);
            assert_eq!(Arc::strong_count(&data), 1, "a thread still holds the data");
        }
    }
}

#[test]
fn no_more_batches_are_under_way_than_allowed() {
    let data = digits();
    let options = LoaderOptions { batch: 10, prefetch: 3, ..LoaderOptions::default() };
    let mut epoch = Loader::epoch(&data, Split::Val, &pre(1, 8), None, &options, 0);
    while epoch.next().is_some() {
        assert!(epoch.under_way.len() <= 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_pixel_is_the_same_for_any_number_of_threads(
        threads in 2usize..5, prefetch in 0usize..5, batch in 1usize..17, seed: u64, epoch in 0usize..100,
    ) {
        let (_dir, data) = folder(&[5, 30]);
        let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, shift: 1, ..Augment::default() };
        let run = |threads, prefetch| {
            let drawn = LoaderOptions { seed, shuffle: true, ..LoaderOptions::default() };
            let options = LoaderOptions { batch, threads, prefetch, max_broken: 2, ..drawn };
            let mut epoch = Loader::epoch(&data, Split::All, &pre(3, 9), Some(augment), &options, epoch);
            let batches = all_of(&mut epoch);
            (batches, epoch.broken().to_vec())
        };
        let (one, many) = (run(1, 1), run(threads, prefetch));
        prop_assert!(one == many);
        prop_assert_eq!(one.1.len(), 2);
    }
}

fn all_of(epoch: &mut Batches) -> Vec<Batch> {
    epoch.collect::<Result<_, _>>().unwrap()
}

#[test]
fn more_than_half_broken_is_an_error_whatever_is_allowed() {
    let run = |broken: &[usize]| {
        let (_dir, data) = folder(broken);
        let options = LoaderOptions { batch: 5, max_broken: 40, ..LoaderOptions::default() };
        Loader::epoch(&data, Split::All, &pre(3, 6), None, &options, 0).collect::<Result<Vec<Batch>, _>>()
    };
    assert_eq!(run(&(0..20).collect::<Vec<_>>()).unwrap().iter().map(Batch::len).sum::<usize>(), 20);
    for broken in [21, 40] {
        let error = run(&(0..broken).collect::<Vec<_>>()).unwrap_err().to_string();
        assert!(error.contains(" of 40 images broken, which is more than half: "), "{error}");
    }
}

#[test]
fn threads_that_cannot_be_had_are_told_and_change_nothing() {
    let (_dir, data) = folder(&[5, 30]);
    let options =
        LoaderOptions { batch: 7, threads: 4, seed: 3, shuffle: true, max_broken: 2, ..LoaderOptions::default() };
    let augment = Some(Augment { flip: 0.5, shift: 1, ..Augment::default() });
    let epoch = || Loader::epoch(&data, Split::All, &pre(3, 9), augment, &options, 1);
    let mut all = epoch();
    let expected = all_of(&mut all);
    assert_eq!(all.note(), None);
    let mut none = epoch();
    none.spawn = |_| Err(std::io::Error::from(std::io::ErrorKind::WouldBlock));
    assert!(all_of(&mut none) == expected);
    assert_eq!(none.broken(), all.broken());
    let note = none.note().unwrap();
    assert!(note.starts_with("0 of 4 loader threads could be started: "), "{note}");
    let mut few = epoch();
    few.spawn = |work| {
        static STARTED: AtomicBool = AtomicBool::new(false);
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(std::io::Error::from(std::io::ErrorKind::WouldBlock));
        }
        Builder::new().spawn(work)
    };
    assert!(all_of(&mut few) == expected);
    assert!(few.note().unwrap().starts_with("1 of 4 loader threads"));
}

#[test]
fn no_more_threads_start_than_images_are_under_way() {
    let data = digits();
    let options = LoaderOptions { batch: 2, prefetch: 3, threads: 1_000_000, ..LoaderOptions::default() };
    let mut epoch = Loader::epoch(&data, Split::Val, &pre(1, 8), None, &options, 0);
    epoch.next().unwrap().unwrap();
    assert_eq!(epoch.threads.len(), 6);
}
