//! Time to score 5,000 images with 10,000 persons.
//!
//!     cargo bench -p dyconv-metrics --bench oks
//!     python crates/metrics/tests/oks/generate.py --time      # pycocotools on the same set
//!
//! One thread, the fastest of seven rounds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench says what it measured")]

#[path = "../tests/oks/sets.rs"]
mod sets;

use std::time::{Duration, Instant};

use dyconv_metrics::keypoint_scores;

fn main() -> Result<(), dyconv_metrics::KeypointError> {
    let images = 5000;
    let set = sets::make(1, Some(images));
    let mut fastest = Duration::MAX;
    let mut scores = keypoint_scores(&set.persons, &set.detections, &set.sigmas)?;
    for _ in 0..7 {
        let started = Instant::now();
        scores = keypoint_scores(&set.persons, &set.detections, &set.sigmas)?;
        fastest = fastest.min(started.elapsed());
    }
    let (persons, detections) = (set.persons.len(), set.detections.len());
    println!("{images} images, {persons} persons, {detections} detections: {:.4} s", fastest.as_secs_f64());
    println!("{:?}", scores.stats());
    Ok(())
}
