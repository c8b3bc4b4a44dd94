//! Time to read COCO annotations of persons.
//!
//!     cargo bench -p dyconv-data --bench annotations
//!
//! A file of 60,000 persons with outlines of 60 numbers each, in the page cache. The fastest of five rounds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench says what it measured")]

use std::time::{Duration, Instant};

use dyconv_data::{Dataset, Split};
use dyconv_task::Skeleton;
use serde_json::json;

const PERSONS: u64 = 60_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let skeleton = Skeleton {
        joints: ["nose", "left_ear", "right_ear"].map(str::to_owned).to_vec(),
        bones: vec![[0, 1], [0, 2]],
        flip_pairs: vec![[1, 2]],
        sigmas: vec![0.03, 0.04, 0.04],
        upper_body: Vec::new(),
    };
    let annotation = |id: u64| {
        json!({
            "id": id, "image_id": id % 2, "category_id": 1, "iscrowd": 0, "area": 60.0, "bbox": [2.0, 1.0, 10.0, 12.0],
            "num_keypoints": 2, "keypoints": [5.0, 6.0, 2, 0, 0, 0, 8.5, 3.25, 1],
            "segmentation": [vec![123.25; 60]]
        })
    };
    let image = |id: u64| json!({"id": id, "file_name": format!("{id}.png"), "width": 17, "height": 13});
    let document = json!({
        "images": [image(0), image(1)],
        "annotations": (0..PERSONS).map(annotation).collect::<Vec<_>>(),
        "categories": [{"id": 1, "name": "animal", "keypoints": skeleton.joints, "skeleton": [[1, 2], [1, 3]]}]
    });
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("annotations.json");
    let text = document.to_string();
    std::fs::write(&path, &text)?;
    let (mut fastest, mut persons) = (Duration::MAX, 0);
    for _ in 0..5 {
        let started = Instant::now();
        let data = Dataset::open_annotations(&path, dir.path(), Some(&skeleton))?;
        fastest = fastest.min(started.elapsed());
        persons = data.len(Split::Val);
    }
    let (megabytes, seconds) = (text.len() as f64 / 1e6, fastest.as_secs_f64());
    println!("{persons} persons in {megabytes:.0} MB: {:.0} ms, {:.0} MB/s", 1e3 * seconds, megabytes / seconds);
    Ok(())
}
