//! Whole networks, most of whose layers are computed by Winograd convolutions, compared with the oracle.

use std::collections::BTreeMap;

use crate::common::{values, weights};
use dyconv_engine::{Isa, Options, Plan, Session, Storage, oracle};
use dyconv_graph::{Init, init};
use dyconv_models::build;

/// Twelve consecutive convolutions, each with several times the rounding error of the direct one.
const TOLERANCE: f64 = 1e-4;

#[test]
fn resnet18_agrees_with_the_oracle() {
    for (name, kernel, layers) in [("resnet18", "winograd4_conv", 10), ("dy_resnet18", "mix_winograd4_conv", 10)] {
        let graph = build(name, &Default::default()).unwrap();
        // All values are random, those of batch norms too: with initial weights, most layers would have almost no
        // effect.
        let (weights, x) = (weights(&graph, 3), values(3 * 224 * 224, 7));
        let mut expected = BTreeMap::new();
        oracle::run_all(&graph, &weights, 1.0, &x, 1, &mut |step, _, value| {
            expected.insert(step.to_owned(), value.to_vec());
        })
        .unwrap();
        for isa in Isa::available() {
            let plan = Plan::for_isa(&graph, &weights, 1.0, isa).unwrap();
            let found = plan.describe().iter().filter(|s| s.kernel.starts_with(kernel)).count();
            assert!(found >= layers, "{found} layers by Winograd's method on {}", isa.name());
            let (mut worst, mut answer) = ((0.0, String::new()), 0.0);
            let compare = &mut |step: &str, _, value: &[f32]| {
                answer = crate::common::relative_error(value, &expected[step], 0.0);
                if answer > worst.0 {
                    worst = (answer, step.to_owned());
                }
            };
            Session::with_threads(plan, 2).run_all(&x, 1, compare).unwrap();
            println!("{name} on {}: answer {answer:e}, worst step {} {:e}", isa.name(), worst.1, worst.0);
            assert!(worst.0 <= TOLERANCE, "{name} on {}: {} {:e}", isa.name(), worst.1, worst.0);
        }
    }
}

#[test]
fn narrow_banks_are_mixed_before_they_are_transformed() {
    let graph = build("dy_resnet18", &Default::default()).unwrap();
    let weights = init(&graph, Init::default());
    for (bank, name) in [(Storage::Bf16, "mix_winograd4_conv-bf16"), (Storage::Int8, "mix_winograd4_conv-int8")] {
        let plan = Plan::with_options(&graph, &weights, 1.0, Options { bank, ..Options::default() }).unwrap();
        assert!(plan.describe().iter().any(|s| s.kernel.starts_with(name)), "{name}");
    }
}
