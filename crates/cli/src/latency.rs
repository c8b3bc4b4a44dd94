//! Measures the latency of networks for one image, or one person.

use std::time::{Duration, Instant};

use anyhow::Context;
use dyconv_data::{Dataset, DecodeOptions, Image, PersonBox, Split};
use dyconv_predict::Error;

use dyconv_predict::Predictor;

/// Duration of the measurement for each network.
const LATENCY_TIME: Duration = Duration::from_millis(400);

/// Median latency of each network for one image, or one person, measured alternately.
pub fn latencies(networks: &[Predictor], dataset: &Dataset) -> anyhow::Result<Vec<Duration>> {
    let load = |i| dataset.load(Split::All, i, &DecodeOptions::default()).ok();
    let image = (0..dataset.len(Split::All)).find_map(load).context("no image can be read")?;
    let mut times = vec![Vec::new(); networks.len()];
    let started = Instant::now();
    while started.elapsed() < LATENCY_TIME * networks.len() as u32 || times[0].len() < 5 {
        for (network, times) in networks.iter().zip(&mut times) {
            let start = Instant::now();
            answer(network, &image)?;
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

fn answer(network: &Predictor, image: &Image) -> anyhow::Result<()> {
    match network {
        // A network whose output is NaN takes the same time.
        Predictor::Classifier(classifier) => match classifier.predict(image) {
            Ok(_) | Err(Error::NoAnswer { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        Predictor::Pose(estimator) => drop(estimator.predict(image, &[PersonBox::whole(image)])?),
    }
    Ok(())
}
