//! What is exported and read again is the same network with the same bits, for every architecture and both names; also where
//! the file says nothing about the network but names and shapes.

use dyconv_graph::{Graph, Init, Op, RouterInit, Weights, init};
use dyconv_models::{FAMILIES, Options, build, dynamic_form};
use dyconv_torch::{Imported, Names, StateDict, export, import, import_at, read_state_dict};

/// The temperature of the routers.
const TAU: f32 = 2.5;

fn weights(graph: &Graph) -> Weights {
    let mut weights = init(graph, Init { seed: 7, router: RouterInit::Large });
    for (i, (name, tensor)) in weights.0.iter_mut().enumerate() {
        if name.ends_with("running_mean") || name.ends_with("running_var") || name.ends_with("bias") {
            tensor.data.iter_mut().enumerate().for_each(|(j, v)| *v += ((i * 31 + j * 7) % 101) as f32 / 100.0);
        }
    }
    weights
}

fn read(bytes: &[u8]) -> StateDict {
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read_state_dict(file.path()).unwrap()
}

/// The same file without our metadata, as PyTorch would write it.
fn anonymous(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    header.as_object_mut().unwrap().remove("__metadata__");
    let json = header.to_string();
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

/// A family at a quarter of its width, with `classes` outputs.
fn name(family: &str) -> String {
    format!("{family}_x0_25")
}

#[test]
fn every_network_comes_back_bit_for_bit() {
    for family in FAMILIES {
        for name in [
            name(family.name),
            dynamic_form(&name(family.name)),
            format!("pose_dy_{}_b", name(family.name)),
            format!("pose_{}_a", name(family.name)),
        ] {
            let options = Options {
                classes: 7,
                joints: 5,
                image_size: [64, 64],
                head_width: if name.starts_with("pose") { 0.25 } else { 1.0 },
                ..Options::default()
            };
            let graph = build(&name, &options).unwrap();
            let weights = weights(&graph);
            for names in [Names::Torchvision, Names::Timm] {
                let bytes = export(&graph, &weights, TAU, &name, names).unwrap();
                assert_eq!(
                    bytes,
                    export(&graph, &weights, TAU, &name, names).unwrap(),
                    "{name}: not the same bytes twice"
                );
                let Imported { graph: g, weights: w, tau, arch, report, .. } = import(&read(&bytes), None).unwrap();
                assert_eq!(arch, name);
                assert!(report.is_complete() && report.unused.is_empty(), "{name}: {report:?}");
                assert!(g == graph && w == weights, "{name} as {names:?}");
                assert_eq!(tau, (graph.dynamic_layers() > 0).then_some(TAU), "{name}");
            }
        }
    }
}

#[test]
fn routers_of_different_temperatures_are_refused_by_name() {
    let name = "dy_rn4";
    let graph = build(name, &Options::default()).unwrap();
    let mut dict = read(&anonymous(&export(&graph, &weights(&graph), TAU, name, Names::Timm).unwrap()));
    let of_layer = |layer: &str| format!("{layer}.attention.tau");
    let taus: Vec<String> = dict.tensors.keys().filter(|name| name.ends_with(".tau")).cloned().collect();
    assert!(taus.contains(&of_layer("layer2.0.conv1")), "{taus:?}");
    assert!(taus.iter().all(|name| dict.tensors[name].shape.is_empty()), "scalars");
    let mut refused = |value: f32, words: &str| {
        dict.tensors.get_mut(&of_layer("layer2.0.conv1")).unwrap().data = vec![value];
        let error = import(&dict, None).unwrap_err().to_string();
        assert!(error.contains("`layer2.0.conv1.attention.tau` is ") && error.contains(words), "{error}");
    };
    refused(3.0, "different temperatures");
    refused(0.0, "expected a positive finite number");
}

/// Without our metadata the network is recognized by names and shapes; only its epsilon and dropout may differ.
#[test]
fn every_classifier_is_recognized_by_its_names_and_shapes() {
    for family in FAMILIES {
        for dynamic in [false, true] {
            let name = if dynamic { dynamic_form(&name(family.name)) } else { name(family.name) };
            let options = Options { classes: 7, in_channels: 1, image_size: [64, 64], ..Options::default() };
            let graph = build(&name, &options).unwrap();
            let weights = weights(&graph);
            for names in [Names::Torchvision, Names::Timm] {
                let dict = read(&anonymous(&export(&graph, &weights, TAU, &name, names).unwrap()));
                let found =
                    import_at(&dict, None, Some([64, 64])).unwrap_or_else(|e| panic!("{name} as {names:?}: {e}"));
                assert_eq!(found.arch, name, "{names:?}: {:?}", found.report);
                assert_eq!(found.weights, weights, "{name} as {names:?}");
                assert_eq!(found.tau, dynamic.then_some(TAU), "{name}");
                let eps = |graph: &Graph| {
                    graph
                        .nodes()
                        .iter()
                        .map(|n| match n.op {
                            Op::BatchNorm { .. } => Op::BatchNorm { eps: 0.0 },
                            ref op => op.clone(),
                        })
                        .collect::<Vec<_>>()
                };
                assert_eq!(eps(&found.graph).len(), eps(&graph).len(), "{name}");
                assert!(eps(&found.graph) == eps(&graph), "{name} as {names:?}");
            }
        }
    }
}
