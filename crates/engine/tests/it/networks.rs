//! Whole small networks: every op, unusual graph shapes, errors, memory, names.

use std::sync::Arc;

use crate::common::{check, every_op, single, values, weights};
use dyconv_engine::{EngineError, Options, Plan, Session, Storage, oracle};
use dyconv_graph::{Activation, Builder, Conv2d, Gate, Linear, MixLinear, Op, Shape, Weights};

#[test]
fn every_op_agrees_with_the_oracle() {
    for (gate, input, seed) in [
        (Gate::Softmax, [3, 17, 13], 1),
        (Gate::Sigmoid, [3, 17, 13], 2),
        (Gate::Softmax, [1, 1, 1], 3),
        (Gate::Sigmoid, [5, 32, 8], 4),
        (Gate::Softmax, [16, 3, 9], 5),
    ] {
        let graph = every_op(input, gate);
        let x = values(3 * input.iter().product::<usize>(), seed);
        check(&graph, &weights(&graph, seed), 2.0, &x, 3);
    }
}

#[test]
fn every_instruction_set_agrees_with_the_oracle() {
    let graph = every_op([3, 17, 13], Gate::Softmax);
    let (w, x) = (weights(&graph, 8), values(3 * 17 * 13, 8));
    let expected = oracle::run(&graph, &w, 1.0, &x, 1).unwrap();
    for isa in dyconv_engine::Isa::available() {
        let answer = Session::new(Plan::for_isa(&graph, &w, 1.0, isa).unwrap()).predict(&x, 1).unwrap();
        let error = crate::common::relative_error(&answer, &expected, crate::common::SMALL);
        assert!(error <= crate::common::TOLERANCE, "{}: {error:e}", isa.name());
    }
}

#[test]
fn activations_alone_in_pairs_and_on_vectors() {
    use Activation::*;
    for f in [Relu, Relu6, HardSwish, HardSigmoid, Sigmoid, Silu, Gelu] {
        for g in [Relu, Relu6, HardSwish, HardSigmoid, Sigmoid, Silu, Gelu] {
            let mut b = Builder::new([5, 3, 4]).unwrap();
            let x = b.input();
            let x = b.push("f", Op::Activation(f), &[x]).unwrap();
            let x = b.push("g", Op::Activation(g), &[x]).unwrap();
            let x = b.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
            let x = b.push("end", Op::Activation(f), &[x]).unwrap();
            let graph = b.finish(x).unwrap();
            let input: Vec<f32> = values(60, 3).iter().map(|v| v * 8.0).collect();
            check(&graph, &Weights::default(), 1.0, &input, 1);
        }
    }
}

#[test]
fn graphs_of_odd_form() {
    // The input is the output.
    let b = Builder::new([3, 2, 5]).unwrap();
    let x = b.input();
    let identity = b.finish(x).unwrap();
    let input = values(60, 1);
    assert_eq!(check(&identity, &Weights::default(), 1.0, &input, 2), input);

    // Only dropout.
    let drop = single([3, 2, 5], Op::Dropout { rate: 0.5 });
    assert_eq!(check(&drop, &Weights::default(), 1.0, &input, 2), input);

    // The same value twice; a value that is read before, between and after its sums; the output is read inside the
    // graph.
    let mut b = Builder::new([3, 2, 5]).unwrap();
    let x = b.input();
    let twice = b.push("twice", Op::Add, &[x, x]).unwrap();
    let relu = b.push("relu", Op::Activation(Activation::Relu), &[twice]).unwrap();
    let a = b.push("a", Op::Add, &[twice, relu]).unwrap();
    let c = b.push("c", Op::Add, &[x, a]).unwrap();
    let d = b.push("d", Op::Add, &[c, twice]).unwrap();
    let gap = b.push("gap", Op::GlobalAvgPool, &[a]).unwrap();
    let e = b.push("e", Op::Scale, &[d, gap]).unwrap();
    let graph = b.finish(e).unwrap();
    check(&graph, &Weights::default(), 1.0, &input, 2);

    // The vector is its own coefficients; one node is the router of two layers.
    let mut b = Builder::new([4, 2, 2]).unwrap();
    let x = b.input();
    let x = b.push("gap", Op::GlobalAvgPool, &[x]).unwrap();
    let pi = b.push("softmax", Op::Softmax, &[x]).unwrap();
    let layer = |bias| Op::MixLinear(MixLinear { kernels: 4, linear: Linear { out_features: 4, bias } });
    let y = b.push("self", layer(true), &[pi, pi]).unwrap();
    let y = b.push("other", layer(false), &[y, pi]).unwrap();
    let graph = b.finish(y).unwrap();
    check(&graph, &weights(&graph, 3), 0.7, &values(32, 2), 2);

    // The output is read inside the graph, so nothing may be fused into it or overwrite it.
    let mut b = Builder::new([4, 3, 3]).unwrap();
    let x = b.input();
    let y = b.push("conv", Op::Conv(Conv2d::new(4, [1, 1])), &[x]).unwrap();
    let z = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
    let end = b.push("end", Op::Add, &[y, z]).unwrap();
    let graph = b.finish(end).unwrap();
    check(&graph, &weights(&graph, 4), 1.0, &values(72, 2), 2);
}

#[test]
fn steps_are_listed_under_the_last_fused_name() {
    let graph = every_op([3, 16, 16], Gate::Softmax);
    let plan = Plan::new(&graph, &weights(&graph, 1), 1.0).unwrap();
    let steps = plan.describe();
    let names: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
    for fused in ["stem_act", "expand_act", "depthwise_act", "residual", "residual_act", "drop2", "classifier"] {
        assert!(names.contains(&fused), "{fused} in {names:?}");
    }
    for gone in ["stem", "stem_bn", "expand_bn", "drop", "residual_bn", "fc", "fc_act", "head"] {
        assert!(!names.contains(&gone) || gone == "drop", "{gone} in {names:?}");
    }
    let line = steps.iter().find(|s| s.name == "expand_act").unwrap();
    assert!(line.kernel.starts_with("mix_panel_conv+relu6/"), "{line}");
    assert!(steps.iter().any(|s| s.kernel.starts_with("mix_depthwise_conv+relu/")));
    assert_eq!(line.shape, Shape::Map([40, 8, 4]));
    assert_eq!(plan.weight_bytes(), steps.iter().map(|s| s.weight_bytes).sum::<usize>());
    assert_eq!(plan.input_dims(), [3, 16, 16]);
    assert_eq!(plan.output_shape(), Shape::Vector(5));
}

#[test]
fn memory_is_reused() {
    let graph = every_op([3, 64, 64], Gate::Softmax);
    let plan = Plan::new(&graph, &weights(&graph, 1), 1.0).unwrap();
    let all: usize = plan.describe().iter().map(|s| s.shape.elements() * 4).sum();
    // Live at the widest point: the value that the residual needs, and the two maps of 40 channels around the depthwise
    // layer. The sum with the residual has its own place.
    let widest = (20 + 40 + 40 + 20) * 32 * 16 * 4;
    assert!(plan.arena_bytes() < all / 2, "{} of {all}", plan.arena_bytes());
    assert!(plan.arena_bytes() < widest + widest / 10, "{} against {widest}", plan.arena_bytes());
}

#[test]
fn bad_calls_are_errors_with_numbers() {
    let graph = every_op([3, 16, 16], Gate::Softmax);
    let w = weights(&graph, 1);
    for tau in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(Plan::new(&graph, &w, tau), Err(EngineError::Temperature(_))));
    }
    assert!(matches!(Plan::new(&graph, &Weights::default(), 1.0), Err(EngineError::Weights(_))));
    let plan = Arc::new(Plan::new(&graph, &w, 1.0).unwrap());
    let mut session = Session::new(Arc::clone(&plan));
    let text = session.predict(&[0.0; 700], 1).unwrap_err().to_string();
    assert_eq!(text, "input must hold 768 values (1 × [3, 16, 16]), got 700");
    let text = session.run(&[0.0; 1536], 2, &mut [0.0; 9]).unwrap_err().to_string();
    assert_eq!(text, "output must hold 10 values (2 × [5]), got 9");
    assert!(session.predict(&[0.0; 768], usize::MAX).is_err());
    assert!(session.run_all(&[0.0; 1], 1, &mut |_, _, _| panic!("visited")).is_err());
    assert_eq!(session.predict(&[], 0).unwrap(), [0.0f32; 0]);
    session.run_all(&[], 0, &mut |_, _, value| assert!(value.is_empty())).unwrap();
}

#[test]
fn damage_is_not_hidden() {
    let graph = every_op([3, 16, 16], Gate::Softmax);
    let mut session = Session::new(Plan::new(&graph, &weights(&graph, 1), 1.0).unwrap());
    let mut x = values(768, 1);
    let clean = session.predict(&x, 1).unwrap();
    x[100] = f32::NAN;
    let damaged = session.predict(&x, 1).unwrap();
    assert!(damaged.iter().all(|v| v.is_nan()), "{damaged:?}");
    x[100] = values(768, 1)[100];
    assert_eq!(session.predict(&x, 1).unwrap(), clean, "nothing stays behind");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let graph = every_op([3, 65, 47], Gate::Softmax);
    let (w, x) = (weights(&graph, 6), values(2 * 3 * 65 * 47, 6));
    for isa in dyconv_engine::Isa::available() {
        let plan = Arc::new(Plan::for_isa(&graph, &w, 1.0, isa).unwrap());
        let alone = Session::new(Arc::clone(&plan)).predict(&x, 2).unwrap();
        for threads in [2, 3, 5] {
            let mut session = Session::with_threads(Arc::clone(&plan), threads);
            assert_eq!(session.predict(&x, 2).unwrap(), alone, "{} {threads}", isa.name());
        }
    }
}

#[test]
fn sessions_share_a_pool() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    let plan = Arc::new(Plan::new(&graph, &weights(&graph, 7), 1.0).unwrap());
    let pool = Arc::new(dyconv_engine::Pool::new(2));
    let x = values(3 * 33 * 31, 7);
    let expected = Session::new(Arc::clone(&plan)).predict(&x, 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = Session::with_pool(Arc::clone(&plan), Arc::clone(&pool));
                for _ in 0..100 {
                    assert_eq!(session.predict(&x, 1).unwrap(), expected);
                }
            });
        }
    });
}

#[test]
fn narrow_banks_deviate_a_little_and_say_so() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    let (w, x) = (weights(&graph, 9), values(3 * 33 * 31, 9));
    let exact = Session::new(Plan::new(&graph, &w, 1.0).unwrap()).predict(&x, 1).unwrap();
    // Eight bits per weight, through four layers; the attention amplifies the error.
    for (bank, name, tolerance) in [(Storage::Bf16, "-bf16", 0.05), (Storage::Int8, "-int8", 0.1)] {
        let plan = Plan::with_options(&graph, &w, 1.0, Options { bank, ..Options::default() }).unwrap();
        assert!(plan.describe().iter().any(|s| s.kernel.contains(&format!("mix_panel_conv{name}"))));
        let answer = Session::new(plan).predict(&x, 1).unwrap();
        let error = crate::common::relative_error(&answer, &exact, crate::common::SMALL);
        assert!(error > 0.0 && error <= tolerance, "{bank:?}: {error:e}");
    }
}

#[test]
fn a_profile_names_every_step() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    let mut session = Session::new(Plan::new(&graph, &weights(&graph, 7), 1.0).unwrap());
    let profile = session.profile(&values(3 * 33 * 31, 7)).unwrap();
    assert_eq!(profile.iter().map(|(s, _)| s.clone()).collect::<Vec<_>>(), session.plan().describe());
    assert!(profile.iter().any(|(_, time)| !time.is_zero()));
}

#[test]
fn the_smallest_bank_within_a_bound() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    let w = weights(&graph, 9);
    let compile = |bank| {
        let options = Options { bank, ..Options::default() };
        Arc::new(Plan::with_options(&graph, &w, 1.0, options).unwrap())
    };
    let exact = compile(Storage::F32);
    let [int8, bf16] = [Storage::Int8, Storage::Bf16].map(|bank| compile(bank).deviation_from(&exact).unwrap());
    assert!(0.0 < bf16 && bf16 < int8 && int8 < 1.0, "bf16 deviates by {bf16:e}, int8 by {int8:e}");
    // At each deviation itself, and just below it.
    for (bound, bank, deviation) in [
        (1.0, Storage::Int8, int8),
        (int8, Storage::Int8, int8),
        (int8 * 0.999, Storage::Bf16, bf16),
        (bf16, Storage::Bf16, bf16),
        (bf16 * 0.999, Storage::F32, 0.0),
        (0.0, Storage::F32, 0.0),
    ] {
        let (plan, found) = Plan::smallest_within(&graph, &w, 1.0, bound, Options::default()).unwrap();
        assert_eq!((plan.bank(), found), (bank, deviation), "within {bound:e}");
        let kernels: Vec<String> = plan.describe().into_iter().map(|s| s.kernel).collect();
        // The routers' own layers are bf16 with both.
        let named = |s: &str| kernels.iter().any(|k| k.starts_with("mix") && k.contains(s));
        assert_eq!((named("-int8"), named("-bf16")), (bank == Storage::Int8, bank == Storage::Bf16), "{kernels:?}");
    }
}

#[test]
fn an_unknown_instruction_set_is_refused_with_the_list() {
    let text = dyconv_engine::Isa::by_name("mmx").unwrap_err();
    let expected = "invalid value `mmx`: there is no such instruction set; possible values on this CPU: portable";
    assert!(text.starts_with(expected), "{text}");
}
