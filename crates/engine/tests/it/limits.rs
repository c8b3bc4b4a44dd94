//! Requests for more memory than the machine has are errors that report the amount, before anything is allocated.

use dyconv_engine::{EngineError, Plan, Pool, Session, available_memory, oracle};
use dyconv_graph::{Builder, Conv2d, Graph, Init, Op, init};

/// x + conv(conv(x)) on maps with this side.
fn residual(side: usize) -> Graph {
    let mut b = Builder::new([7, side, side]).unwrap();
    let x = b.input();
    let y = b.push("a", Op::Conv(Conv2d::new(7, [1, 1])), &[x]).unwrap();
    let y = b.push("b", Op::Conv(Conv2d::new(7, [1, 1])), &[y]).unwrap();
    let y = b.push("sum", Op::Add, &[x, y]).unwrap();
    b.finish(y).unwrap()
}

#[test]
fn a_plan_that_needs_too_much_is_refused() {
    // Three maps of 7.5 GB are live at the same time.
    let graph = residual(16_384);
    match Plan::new(&graph, &init(&graph, Init::default()), 1.0) {
        Err(EngineError::TooLarge { bytes, limit }) => {
            assert!(bytes >= 3 * 7 * 4 * 16_384 * 16_384 && limit <= 16 << 30, "{bytes} {limit}");
        }
        other => panic!("{:?}", other.map(|plan| plan.arena_bytes())),
    }
}

#[test]
fn what_fits_is_as_before_and_sessions_know_their_threads() {
    let graph = residual(9);
    let weights = init(&graph, Init::default());
    let x: Vec<f32> = (0..2 * 7 * 81).map(|i| (i % 13) as f32 - 6.0).collect();
    let plan = std::sync::Arc::new(Plan::new(&graph, &weights, 1.0).unwrap());
    let alone = Session::new(std::sync::Arc::clone(&plan)).predict(&x, 2).unwrap();
    for threads in [1, 2, 3] {
        let mut session = Session::try_with_threads(std::sync::Arc::clone(&plan), threads).unwrap();
        assert!(session.threads() >= 1 && session.threads() <= threads);
        assert_eq!(session.predict(&x, 2).unwrap(), alone);
    }
    assert!(Pool::new(100_000).threads() <= Pool::MAX_THREADS);
}

#[test]
fn the_oracle_asks_for_memory_first() {
    let graph = residual(4);
    let weights = init(&graph, Init::default());
    let error = oracle::run(&graph, &weights, 1.0, &[0.0; 7 * 16], usize::MAX).unwrap_err();
    assert!(matches!(error, EngineError::Length { .. }), "{error}");
    let one = oracle::run(&graph, &weights, 1.0, &[0.0; 7 * 16], 1).unwrap();
    assert_eq!(one.len(), 7 * 16);
    #[cfg(target_os = "linux")]
    assert!(available_memory().is_some());
}
