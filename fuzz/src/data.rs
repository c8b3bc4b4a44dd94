//! Pictures, annotations, tar shards, and the packed forms of MNIST and CIFAR.

use std::path::Path;

use dyconv::data::{
    Dataset, DecodeOptions, DetectedBoxes, HeatMaps, Image, Keypoint, OpenOptions, People, PersonCrop, Split,
    Transform, decode, draw_skeleton,
};
use dyconv::metrics::{Detection, Pose, keypoint_scores, oks_nms};
use dyconv::task::{CropMode, Interpolation, Preprocessing};

use crate::{cut, with_files};

/// A picture: as many bytes as its size says, and finite inputs from it.
pub fn image(bytes: &[u8]) {
    let options = DecodeOptions { max_pixels: 1 << 22, ..DecodeOptions::default() };
    let Ok(image) = decode(bytes, "x", &options) else { return };
    whole(&image);
    if image.data.len() > 1 << 20 {
        return;
    }
    use {CropMode as C, Interpolation as I};
    for (channels, size, resize, crop, interpolation) in [
        (1, [8, 8], 8, C::Center, I::Bilinear),
        (3, [7, 13], 9, C::Center, I::Lanczos),
        (3, [1, 1], 1, C::Squash, I::Bicubic),
        (3, [9, 5], 12, C::Squash, I::Nearest),
        (3, [6, 11], 9, C::Border, I::Bicubic),
        (1, [9, 9], 10, C::Border, I::Bilinear),
    ] {
        let usual = Preprocessing::usual(channels, size, resize);
        let transform = Transform::new(Preprocessing { crop, interpolation, ..usual }).expect("sound values");
        let input = transform.evaluate(&image);
        assert_eq!(input.len(), channels * size[0] * size[1]);
        assert!(input.iter().all(|v| v.is_finite()));
    }
}

fn whole(image: &Image) {
    assert_eq!(image.data.len(), image.width * image.height * image.channels);
    assert!(image.width * image.height > 0);
}

/// What stands between annotations and boxes in the bytes of [`coco`].
const CUT: &[u8] = b"\n@@\n";

/// COCO keypoints annotations, and boxes of a detector for them.
pub fn coco(bytes: &[u8]) {
    let (annotations, boxes) = cut(bytes, CUT).unwrap_or((bytes, b"[]"));
    with_files(&[("a.json", annotations), ("b.json", boxes)], |folder| {
        let Ok(set) = Dataset::open_annotations(&folder.join("a.json"), folder, None) else { return };
        let people = set.people().expect("annotations are of persons");
        scored(people);
        let Ok(found) = DetectedBoxes::read(&folder.join("b.json"), people) else { return };
        for found in found.boxes.iter().take(50) {
            let _map = PersonCrop::around(found.bbox, INPUT).to_image(INPUT);
        }
    });
}

const INPUT: [usize; 2] = [32, 24];

/// What training and scoring do with persons.
fn scored(people: &People) {
    let (maps, truth, sigmas) = (HeatMaps { input: INPUT, map: [8, 6] }, people.truth(|_| true), people.sigmas());
    let mut detections = Vec::new();
    for person in people.persons.iter().take(20) {
        let image = &people.images[person.image];
        let bbox = person.bbox.clipped(image.width, image.height).expect("persons have boxes inside their image");
        let crop = PersonCrop::around(bbox, INPUT);
        let to_image = crop.to_image(INPUT);
        let to_crop = to_image.inverse();
        let joints: Vec<Keypoint> = person
            .joints
            .iter()
            .map(|joint| {
                let [x, y] = to_crop.apply([joint.x, joint.y]);
                Keypoint { x, y, visibility: joint.visibility }
            })
            .collect();
        let (mut map, mut weights) = (vec![0.0; joints.len() * 48], vec![0.0; joints.len()]);
        maps.encode(&joints, 2.0, &mut map, &mut weights);
        assert!(map.iter().all(|v| v.is_finite()));
        let found: Vec<_> = maps.decode(&map).into_iter().map(|joint| joint.through(&to_image)).collect();
        let mut picture = Image::new(5, 4, 3, (0..60).collect());
        let _cuts = [crop.cut(&picture, INPUT), crop.mirror().cut(&picture, INPUT)];
        let drawn: Vec<[f32; 3]> = found.iter().map(|j| [j.x as f32, j.y as f32, j.score]).collect();
        draw_skeleton(&mut picture, &drawn, &people.skeleton, 0.2);
        let drawn: Vec<[f32; 3]> = person.joints.iter().map(|j| [j.x as f32, j.y as f32, 1.0]).collect();
        draw_skeleton(&mut picture, &drawn, &people.skeleton, 0.2);
        detections.push(people.detection(person.image, 1.0, &found));
        let exact = person.joints.iter().map(|j| [j.x, j.y]).collect();
        detections.push(Detection { image: image.id, joints: exact, score: 0.5 });
    }
    if let Ok(scores) = keypoint_scores(&truth, &detections, &sigmas) {
        for (name, value) in scores.stats() {
            assert!(value.is_none_or(|v| (0.0..=1.0).contains(&v)), "{name} is {value:?}");
        }
    }
    let pose = |t: &dyconv::metrics::GroundTruth| Pose {
        joints: t.joints.iter().map(|j| j.unwrap_or([0.0, 0.0])).collect(),
        area: t.area,
        score: 0.7,
    };
    let _kept = oks_nms(&truth.iter().map(pose).collect::<Vec<_>>(), &sigmas, 0.9);
}

/// A tar shard.
pub fn tar(bytes: &[u8]) {
    with_files(&[("a.tar", bytes)], opened);
}

/// MNIST's and CIFAR's files: the first byte says which, the next two where the second file begins.
pub fn packed(bytes: &[u8]) {
    let [kind, high, low, rest @ ..] = bytes else { return };
    let (one, two) = rest.split_at((usize::from(*high) * 256 + usize::from(*low)).min(rest.len()));
    let names = match kind % 4 {
        0 => ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
        1 => ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"],
        2 => ["data_batch_1.bin", "batches.meta.txt"],
        _ => ["train.bin", "fine_label_names.txt"],
    };
    with_files(&[(names[0], one), (names[1], two)], opened);
}

/// A data set in a folder: what it says of itself, and its first images.
fn opened(folder: &Path) {
    let folder = folder.to_str().expect("a temporary folder has a plain name");
    let Ok(set) = Dataset::open(folder, &OpenOptions::default()) else { return };
    assert!(!set.describe().contains('\n'));
    for i in 0..set.len(Split::All).min(20) {
        let (label, _) = set.item(Split::All, i);
        assert!(label < set.classes().len());
        if let Ok(image) = set.load(Split::All, i, &DecodeOptions::default()) {
            whole(&image);
        }
    }
}
