//! The dynamic convolution layer, compared with PyTorch's results from `golden/generate.py`.

use std::collections::BTreeMap;

use crate::common::relative_error;
use dyconv_engine::{Isa, Options, Plan, Session, Storage, oracle};
use dyconv_graph::{Builder, Conv2d, Graph, MixConv, Op, Router, Tensor, Weights};
use safetensors::SafeTensors;
use serde_json::Value;

/// f32 compared with f64 rounded to f32: sums of at most 147 products.
const TOLERANCE: f64 = 1e-5;

/// The relative error of a weight of a bf16 bank is at most 2⁻⁹. The same holds for the two router layers, which at a
/// low τ shifts the mixture.
const BF16_BANK: f64 = 0.02;

/// A weight of an int8 bank is off by at most 1/254 of the largest of its channel; routers are as above.
const INT8_BANK: f64 = 0.02;

struct Case {
    name: String,
    graph: Graph,
    weights: Weights,
    tau: f32,
    batch: usize,
    tensors: BTreeMap<String, Vec<f32>>,
}

fn cases() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/dynamic_conv.safetensors");
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let list: Vec<Value> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    list.iter().map(|case| read_case(case, &file)).collect()
}

fn read_case(case: &Value, file: &SafeTensors<'_>) -> Case {
    let n = |key: &str| case[key].as_u64().unwrap() as usize;
    let name = case["name"].as_str().unwrap().to_owned();
    let pair = |key: &str| [n(key), n(key)];
    let conv = Conv2d {
        out_channels: n("cout"),
        kernel: pair("k"),
        stride: pair("stride"),
        padding: pair("padding"),
        end_padding: None,
        dilation: pair("dilation"),
        groups: n("groups"),
        bias: case["bias"].as_bool().unwrap(),
    };
    let mut b = Builder::new([n("cin"), n("h"), n("w")]).unwrap();
    let x = b.input();
    let router = Router { kernels: n("kernels"), ..Router::default() };
    assert_eq!(router.hidden(n("cin")), n("hidden"));
    let pi = b.router("router", x, &router).unwrap();
    let y = b.push("bank", Op::MixConv(MixConv { kernels: n("kernels"), conv }), &[x, pi]).unwrap();
    let graph = b.finish(y).unwrap();

    let mut tensors = BTreeMap::new();
    let mut weights = Weights::default();
    for (full, view) in file.tensors() {
        let Some(part) = full.strip_prefix(&format!("{name}.")) else { continue };
        let data: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let ours = if part.starts_with("fc") { format!("router.{part}") } else { part.to_owned() };
        if ours.starts_with("router.") || ours.starts_with("bank.") {
            weights.0.insert(ours, Tensor::new(view.shape(), data.clone()));
        }
        tensors.insert(part.to_owned(), data);
    }
    let tau = case["tau"].as_f64().unwrap() as f32;
    Case { name, graph, weights, tau, batch: n("n"), tensors }
}

#[test]
fn oracle_and_plan_agree_with_pytorch() {
    let cases = cases();
    assert_eq!(cases.len(), 20);
    let mut failures = Vec::new();
    for case in &cases {
        let Case { graph, weights, tau, batch, tensors, .. } = case;
        let mut look = |who: &str, name: &str, value: &[f32], tolerance: f64| {
            let expected = match name {
                "router.softmax" => &tensors["pi"],
                "bank" => &tensors["y"],
                _ => return,
            };
            let error = relative_error(value, expected, 0.0);
            if error > tolerance {
                failures.push(format!("{} {who} {name}: {error:e}", case.name));
            }
        };
        let x = &tensors["x"];
        oracle::run_all(graph, weights, *tau, x, *batch, &mut |name, _, v| look("oracle", name, v, TOLERANCE)).unwrap();
        for isa in Isa::available() {
            for (bank, tolerance) in [(Storage::F32, TOLERANCE), (Storage::Bf16, BF16_BANK), (Storage::Int8, INT8_BANK)]
            {
                let options = Options { isa: Some(isa), bank, ..Options::default() };
                let mut session = Session::new(Plan::with_options(graph, weights, *tau, options).unwrap());
                let who = format!("{} {bank:?}", isa.name());
                let mut seen = 0;
                let answer = session.run_all(x, *batch, &mut |name, _, v| {
                    seen += usize::from(name == "bank" || name == "router.softmax");
                    look(&who, name, v, tolerance);
                });
                assert_eq!(seen, 2, "{} {who}", case.name);
                assert_eq!(session.predict(x, *batch).unwrap(), answer.unwrap(), "{} {who}", case.name);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
