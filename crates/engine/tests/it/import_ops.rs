//! The ops of imported networks, compared with PyTorch's results (`golden/generate_import_ops.py`).

use crate::common::relative_error;
use dyconv_engine::{Isa, Options, Plan, Session, oracle};
use dyconv_graph::{Graph, Tensor, Weights};
use safetensors::SafeTensors;
use serde_json::Value;

/// f32 compared with f64 rounded to f32: sums of at most 75 products.
const GOLDEN: f64 = 1e-5;

#[test]
fn oracle_and_plan_agree_with_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/import_ops.safetensors");
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(cases.len(), 30);
    let mut failures = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let graph: Graph = serde_json::from_value(case["graph"].clone()).unwrap();
        let tensor = |part: &str| {
            let view = file.tensor(&format!("{name}.{part}")).unwrap();
            let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Tensor::new(view.shape(), data)
        };
        let weights = Weights(graph.parameters().into_iter().map(|p| (p.name.clone(), tensor(&p.name))).collect());
        weights.check(&graph).unwrap();
        let (x, y) = (tensor("x"), tensor("y"));
        let mut look = |who: &str, found: Vec<f32>| {
            let error = relative_error(&found, &y.data, 0.0);
            if error > GOLDEN {
                failures.push(format!("{name} {who}: {error:e}"));
            }
        };
        look("oracle", oracle::run(&graph, &weights, 1.0, &x.data, x.shape[0]).unwrap());
        for isa in Isa::available() {
            let options = Options { isa: Some(isa), ..Options::default() };
            let mut session = Session::new(Plan::with_options(&graph, &weights, 1.0, options).unwrap());
            look(isa.name(), session.predict(&x.data, x.shape[0]).unwrap());
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
