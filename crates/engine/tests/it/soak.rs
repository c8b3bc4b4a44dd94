//! Many concurrent runs: four sessions on a pool of two threads, ten thousand runs, always bit-identical.

use std::sync::Arc;

use crate::common::{every_op, values, weights};
use dyconv_engine::{Options, Plan, Pool, Session, Storage};
use dyconv_graph::Gate;

const SESSIONS: usize = 4;
const RUNS: usize = 10_000;

#[test]
fn ten_thousand_runs_of_four_sessions_on_two_threads_are_the_same_every_time() {
    // Mixtures, depthwise, squeeze-and-excitation, residual and mixed linear layers, with exact and narrow banks side
    // by side.
    let graph = every_op([3, 19, 17], Gate::Softmax);
    let weights = weights(&graph, 7);
    let plans = [Storage::F32, Storage::Bf16].map(|bank| {
        Arc::new(Plan::with_options(&graph, &weights, 1.0, Options { bank, ..Options::default() }).unwrap())
    });
    let inputs: Vec<Vec<f32>> = (0..3).map(|seed| values(3 * 19 * 17, seed)).collect();
    let expected = plans.each_ref().map(|plan| {
        let mut alone = Session::new(Arc::clone(plan));
        inputs.iter().map(|x| alone.predict(x, 1).unwrap()).collect::<Vec<_>>()
    });
    let pool = Arc::new(Pool::new(2));
    std::thread::scope(|scope| {
        for i in 0..SESSIONS {
            let (plan, expected, inputs) = (&plans[i % 2], &expected[i % 2], &inputs);
            let mut session = Session::with_pool(Arc::clone(plan), Arc::clone(&pool));
            scope.spawn(move || {
                let mut answer = vec![0.0; expected[0].len()];
                for run in 0..RUNS / SESSIONS {
                    let which = (run + i) % inputs.len();
                    answer.fill(f32::NAN);
                    session.run(&inputs[which], 1, &mut answer).unwrap();
                    assert!(answer == expected[which], "session {i}, run {run}");
                }
            });
        }
    });
}
