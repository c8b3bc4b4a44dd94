//! Convolutions that multiply bf16, in whole networks.

use std::sync::Arc;

use crate::common::{every_op, relative_error, values, weights};
use dyconv_engine::{Isa, Options, Plan, Precision, Session, Storage, oracle};
use dyconv_graph::Gate;

fn bf16(isa: Isa) -> Options {
    Options { isa: Some(isa), precision: Precision::Bf16, ..Options::default() }
}

/// Every op on every instruction set: close to the oracle, bit-identical for any number of threads, and listed by name.
#[test]
fn every_instruction_set_stays_close_and_says_what_it_runs() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    let (w, x) = (weights(&graph, 9), values(2 * 3 * 33 * 31, 9));
    let expected = oracle::run(&graph, &w, 1.0, &x, 2).unwrap();
    for isa in Isa::available() {
        for bank in [Storage::F32, Storage::Bf16, Storage::Int8] {
            let plan = Arc::new(Plan::with_options(&graph, &w, 1.0, Options { bank, ..bf16(isa) }).unwrap());
            let kernels: Vec<String> = plan.describe().into_iter().map(|s| s.kernel).collect();
            let named = |start: &str| kernels.iter().any(|k| k.starts_with(start) && k.ends_with(isa.name()));
            assert!(named("mix_bf16_panel_conv") && named("panel_conv"), "{kernels:?}");
            let answer = Session::new(Arc::clone(&plan)).predict(&x, 2).unwrap();
            let error = relative_error(&answer, &expected, crate::common::SMALL);
            // Measured: 5e-5, with int8 2e-4.
            assert!(error > 0.0 && error <= 1e-3, "{} {bank:?}: {error:e}", isa.name());
            for threads in [2, 3] {
                let mut session = Session::with_threads(Arc::clone(&plan), threads);
                assert_eq!(session.predict(&x, 2).unwrap(), answer, "{} {threads}", isa.name());
            }
        }
    }
}

/// Whole networks with active routers, compared with the oracle.
#[test]
fn whole_networks_stay_close() {
    // The eight bits of inputs and weights cause an error of about 1e-3 in all of them.
    const BOUND: f64 = 5e-3;
    for name in
        ["resnet18", "mobilenet_v2_x1_0", "mobilenet_v3_small"].map(|n| [n.to_owned(), format!("dy_{n}")]).concat()
    {
        let graph = dyconv_models::build(&name, &dyconv_models::Options { image_size: [64, 64], ..Default::default() })
            .unwrap();
        let w = weights(&graph, 3);
        let x = values(3 * 64 * 64, 5);
        let expected = oracle::run(&graph, &w, 4.0, &x, 1).unwrap();
        let plan = Plan::with_options(&graph, &w, 4.0, bf16(Isa::detect())).unwrap();
        assert!(plan.describe().iter().any(|s| s.kernel.contains("bf16_panel_conv")), "{name}");
        let error = relative_error(&Session::new(plan).predict(&x, 1).unwrap(), &expected, 0.0);
        assert!(error > 0.0 && error <= BOUND, "{name}: {error:e}");
    }
}
