//! How long networks take for one image.

use std::time::{Duration, Instant};

use anyhow::Context;
use dyconv::Classifier;
use dyconv::data::{Dataset, Split};

/// How long the latency of each network is measured.
const LATENCY_TIME: Duration = Duration::from_millis(400);

/// Median time of one image of the data set through each network, measured alternately.
pub fn latencies(classifiers: &mut [Classifier], dataset: &Dataset) -> anyhow::Result<Vec<Duration>> {
    let image =
        (0..dataset.len(Split::All)).find_map(|i| dataset.load(Split::All, i).ok()).context("no image can be read")?;
    let mut times = vec![Vec::new(); classifiers.len()];
    let started = Instant::now();
    while started.elapsed() < LATENCY_TIME * classifiers.len() as u32 || times[0].len() < 5 {
        for (classifier, times) in classifiers.iter_mut().zip(&mut times) {
            let start = Instant::now();
            classifier.predict(&image)?;
            times.push(start.elapsed());
        }
    }
    Ok(times
        .into_iter()
        .map(|mut t| {
            t.sort_unstable();
            t[t.len() / 2]
        })
        .collect())
}
