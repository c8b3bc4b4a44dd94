//! `--per-node`: the time of each step, compared with its lower bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyconv_engine::{Session, StepInfo};
use serde::Serialize;

use super::{Machine, Precision, Subject};

/// One step of a network.
#[derive(Serialize)]
pub struct NodeRow {
    pub network: String,
    pub precision: Precision,
    pub node: String,
    pub kernel: String,
    /// Median time in microseconds.
    pub us: f64,
    /// Fraction of the whole network's time.
    pub share: f64,
    /// What limits the step, and its minimum time in microseconds; absent if it has neither multiply-adds nor weights.
    #[serde(flatten)]
    pub bound: Option<Bound>,
}

#[derive(Serialize)]
pub struct Bound {
    /// `arithmetic` or `bytes`.
    pub bound: &'static str,
    pub bound_us: f64,
    /// Minimum time as a fraction of the step's time.
    pub share_of_bound: f64,
}

/// Median time of every step, with batch size 1.
pub fn per_node(subject: &Subject, machine: Machine, seconds: f64) -> anyhow::Result<Vec<NodeRow>> {
    let mut session = Session::try_with_threads(Arc::clone(&subject.plan), machine.threads)?;
    let input = vec![0.5f32; subject.plan.input_dims().iter().product()];
    let mut profiles = vec![session.profile(&input)?];
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < seconds || profiles.len() < 5 {
        profiles.push(session.profile(&input)?);
    }
    let median = |step: usize| {
        let mut times: Vec<Duration> = profiles.iter().map(|p| p[step].1).collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let times: Vec<f64> = (0..profiles[0].len()).map(median).collect();
    let sum: f64 = times.iter().sum();
    let rows = profiles[0].iter().zip(times).map(|((info, _), us)| NodeRow {
        network: subject.name.clone(),
        precision: subject.precision,
        node: info.name.clone(),
        kernel: info.kernel.clone(),
        us,
        share: us / sum,
        bound: bound(info, machine, us),
    });
    Ok(rows.collect())
}

fn bound(info: &StepInfo, machine: Machine, us: f64) -> Option<Bound> {
    // Billions per second are thousands per microsecond.
    let arithmetic = info.madds as f64 / (1e3 * machine.gmadds_per_second);
    let bytes = info.weight_bytes as f64 / (1e3 * machine.gbytes_per_second);
    let (bound, bound_us) = if bytes > arithmetic { ("bytes", bytes) } else { ("arithmetic", arithmetic) };
    (bound_us > 0.0).then(|| Bound { bound, bound_us, share_of_bound: bound_us / us })
}
