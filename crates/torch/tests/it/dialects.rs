//! Dialects that PyTorch's golden files do not have: the tensors are renamed here, step by step, as those programs store them.

use std::collections::BTreeMap;

use dyconv_graph::{Graph, Init, Op, Tensor, Weights, init};
use dyconv_models::{Options, build};
use dyconv_torch::{Imported, StateDict, TorchError, import_at, read_state_dict};

fn read(tensors: &BTreeMap<String, Tensor>) -> StateDict {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(tensor.data.iter().flat_map(|v| v.to_le_bytes()));
        let entry = serde_json::json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let json = serde_json::Value::Object(header).to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &data].concat()).unwrap();
    read_state_dict(file.path()).unwrap()
}

fn network(name: &str) -> (Graph, Weights) {
    let graph = build(name, &Options { classes: 5, image_size: [64, 64], ..Options::default() }).unwrap();
    let weights = init(&graph, Init { seed: 2, ..Init::default() });
    (graph, weights)
}

fn import(tensors: &BTreeMap<String, Tensor>) -> Result<Imported, TorchError> {
    import_at(&read(tensors), None, Some([64, 64]))
}

/// `axes[i]` of the tensor becomes axis `i`.
fn transpose(t: &Tensor, axes: &[usize]) -> Tensor {
    let shape: Vec<usize> = axes.iter().map(|a| t.shape[*a]).collect();
    let strides: Vec<usize> = (0..t.shape.len()).map(|a| t.shape[a + 1..].iter().product()).collect();
    let data = (0..t.data.len()).map(|mut i| {
        let mut from = 0;
        for (axis, size) in axes.iter().zip(&shape).rev() {
            from += i % size * strides[*axis];
            i /= size;
        }
        t.data[from]
    });
    Tensor::new(&shape, data.collect())
}

#[test]
fn keras_mobilenet_v2_with_its_layouts_padding_and_epsilon() {
    let (_, weights) = network("mobilenet_v2_x0_35");
    for (separator, end, doubled) in [("/", ":0", true), (".", "", false)] {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in &weights.0 {
            let (node, parameter) = name.rsplit_once('.').unwrap();
            let (layer, bn) = node.strip_suffix(".bn").map_or((node, false), |layer| (layer, true));
            let layer = match layer.split('.').collect::<Vec<_>>()[..] {
                ["stem"] => if bn { "bn_Conv1" } else { "Conv1" }.to_owned(),
                ["head"] => if bn { "Conv_1_bn" } else { "Conv_1" }.to_owned(),
                ["classifier"] => "predictions".to_owned(),
                ["blocks", "0", part] => format!("expanded_conv_{part}{}", if bn { "_BN" } else { "" }),
                ["blocks", block, part] => format!("block_{block}_{part}{}", if bn { "_BN" } else { "" }),
                _ => panic!("{layer}"),
            };
            let depthwise = layer.ends_with("depthwise");
            let (parameter, tensor) = match (parameter, tensor.shape.len()) {
                ("weight", 4) if depthwise => ("depthwise_kernel", transpose(tensor, &[2, 3, 0, 1])),
                ("weight", 4) => ("kernel", transpose(tensor, &[2, 3, 1, 0])),
                ("weight", 2) => ("kernel", transpose(tensor, &[1, 0])),
                ("weight", _) => ("gamma", tensor.clone()),
                ("bias", _) if bn => ("beta", tensor.clone()),
                ("running_mean", _) => ("moving_mean", tensor.clone()),
                ("running_var", _) => ("moving_variance", tensor.clone()),
                _ => ("bias", tensor.clone()),
            };
            let layer = if doubled { format!("{layer}{separator}{layer}") } else { layer };
            tensors.insert(format!("{layer}{separator}{parameter}{end}"), tensor);
        }
        let found = import(&tensors).unwrap();
        assert_eq!((found.arch.as_str(), found.dialect), ("mobilenet_v2_x0_35", "keras"));
        assert!(found.weights == weights && found.report.unused.is_empty());
        let op = |name: &str| found.graph.node(found.graph.find(name).unwrap()).op.clone();
        assert_eq!(op("stem.bn"), Op::BatchNorm { eps: 1e-3 });
        assert!(matches!(op("stem"), Op::Conv(c) if c.padding == [0, 0] && c.end_padding == Some([1, 1])));
        assert!(matches!(op("blocks.2.depthwise"), Op::Conv(c) if c.padding == [1, 1] && c.end_padding.is_none()));
    }
}

/// The two repositories' dynamic layers in MobileNetV2, with hidden widths and K that ours would not choose.
#[test]
fn foreign_dynamic_layers_keep_their_widths_biases_and_k() {
    let (_, weights) = network("mobilenet_v2_x0_35");
    for tardelean in [true, false] {
        let mut tensors = BTreeMap::new();
        let mut bank = 0;
        for (name, tensor) in &weights.0 {
            let (node, parameter) = name.rsplit_once('.').unwrap();
            let (layer, bn) = node.strip_suffix(".bn").map_or((node, false), |layer| (layer, true));
            let i = usize::from(bn);
            let place = match (layer.split('.').collect::<Vec<_>>()[..].as_ref(), tardelean) {
                (["stem"], _) => format!("features.0.{i}"),
                (["head"], true) => format!("conv.{i}"),
                (["head"], false) => format!("features.18.{i}"),
                (["classifier"], true) => "classifier".to_owned(),
                (["classifier"], false) => "classifier.1".to_owned(),
                (["blocks", "0", "depthwise"], true) => format!("features.1.conv.{i}"),
                (["blocks", "0", "project"], true) => format!("features.1.conv.{}", 3 + i),
                (["blocks", "0", "depthwise"], false) => format!("features.1.conv.0.{i}"),
                (["blocks", "0", "project"], false) => format!("features.1.conv.{}", 1 + i),
                (["blocks", block, part], tardelean) => {
                    let block: usize = block.parse::<usize>().unwrap() + 1;
                    let part = ["expand", "depthwise", "project"].iter().position(|p| p == part).unwrap();
                    match (tardelean, part) {
                        (true, part) => format!("features.{block}.conv.{}", 3 * part + i),
                        (false, 2) => format!("features.{block}.conv.{}", 2 + i),
                        (false, part) => format!("features.{block}.conv.{part}.{i}"),
                    }
                }
                (other, _) => panic!("{other:?}"),
            };
            if layer.ends_with("depthwise") && !bn {
                bank += 1;
                let (k, c, hidden) = (2 + bank % 3, tensor.shape[0], tensor.shape[0] / 4 + 1);
                let many: Vec<f32> = (0..k).flat_map(|k| tensor.data.iter().map(move |v| v * (k + 1) as f32)).collect();
                let names = if tardelean {
                    ["kernels_weights", "attention.to_scores.0", "attention.to_scores.2", "kernels_bias"]
                } else {
                    ["weight", "attention.fc1", "attention.fc2", "bias"]
                };
                let linear = |o: usize, i: usize| {
                    let shape = if tardelean { vec![o, i] } else { vec![o, i, 1, 1] };
                    Tensor::full(&shape, 0.25)
                };
                tensors.insert(format!("{place}.{}", names[0]), Tensor::new(&[&[k], &tensor.shape[..]].concat(), many));
                tensors.insert(format!("{place}.{}.weight", names[1]), linear(hidden, c));
                tensors.insert(format!("{place}.{}.weight", names[2]), linear(k, hidden));
                tensors.insert(format!("{place}.{}.bias", names[2]), Tensor::full(&[k], 0.5));
                tensors.insert(format!("{place}.{}", names[3]), Tensor::full(&[k, c], 0.125));
                if tardelean {
                    tensors.insert(format!("{place}.{}.bias", names[1]), Tensor::full(&[hidden], 0.75));
                }
            } else {
                tensors.insert(format!("{place}.{parameter}"), tensor.clone());
            }
        }
        let found = import(&tensors).unwrap_or_else(|e| panic!("tardelean {tardelean}: {e}"));
        assert_eq!(found.arch, "dy_mobilenet_v2_x0_35");
        assert!(found.report.unused.is_empty() && found.graph.dynamic_layers() == 17, "{:?}", found.report);
        let node = found.graph.node(found.graph.find("blocks.0.depthwise").unwrap());
        assert!(matches!(&node.op, Op::MixConv(mix) if mix.conv.bias && (2..=4).contains(&mix.kernels)));
        let hidden = found.graph.node(found.graph.find("blocks.0.depthwise.router.fc1").unwrap());
        assert!(
            matches!(&hidden.op, Op::Linear(l) if l.out_features == node.shape.channels() / 4 + 1 && l.bias == tardelean)
        );
        assert_eq!(found.weights.get("blocks.0.depthwise.bias").data[0], 0.125);
        assert_eq!(found.weights.get("classifier.weight"), weights.get("classifier.weight"));
    }
}

#[test]
fn conditional_convolutions_of_timm_share_a_router() {
    let (graph, weights) = network("mobilenet_v2_x0_25");
    let mut tensors = BTreeMap::new();
    let stages = [1, 2, 3, 4, 3, 3, 1];
    let place = |mut block: usize| {
        let mut stage = 0;
        while block >= stages[stage] {
            block -= stages[stage];
            stage += 1;
        }
        format!("blocks.{stage}.{block}")
    };
    for (name, tensor) in &weights.0 {
        let (node, parameter) = name.rsplit_once('.').unwrap();
        let (layer, bn) = node.strip_suffix(".bn").map_or((node, false), |layer| (layer, true));
        let module = match layer.split('.').collect::<Vec<_>>()[..] {
            ["stem"] => if bn { "bn1" } else { "conv_stem" }.to_owned(),
            ["head"] => if bn { "bn2" } else { "conv_head" }.to_owned(),
            ["classifier"] => "classifier".to_owned(),
            ["blocks", block, part] => {
                let block: usize = block.parse().unwrap();
                let names = match (block, part) {
                    (0, "depthwise") => ["conv_dw", "bn1"],
                    (0, _) => ["conv_pw", "bn2"],
                    (_, "expand") => ["conv_pw", "bn1"],
                    (_, "depthwise") => ["conv_dw", "bn2"],
                    _ => ["conv_pwl", "bn3"],
                };
                let conditional = block >= 11 && !bn;
                if conditional {
                    let n = tensor.data.len();
                    let data = tensor.data.iter().chain(&tensor.data).map(|v| v / 2.0).collect();
                    tensors.insert(format!("{}.{}.weight", place(block), names[0]), Tensor::new(&[2, n], data));
                    if part == "expand" {
                        let c = tensor.shape[1];
                        tensors.insert(format!("{}.routing_fn.weight", place(block)), Tensor::full(&[2, c], 0.1));
                        tensors.insert(format!("{}.routing_fn.bias", place(block)), Tensor::full(&[2], 0.2));
                    }
                    continue;
                }
                format!("{}.{}", place(block), names[usize::from(bn)])
            }
            _ => panic!("{layer}"),
        };
        tensors.insert(format!("{module}.{parameter}"), tensor.clone());
    }
    let found = import(&tensors).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((found.arch.as_str(), found.dialect), ("dy_mobilenet_v2_x0_25", "timm"));
    assert!(found.report.unused.is_empty(), "{:?}", found.report);
    assert_eq!(found.graph.dynamic_layers(), 18);
    let node = |name: &str| found.graph.node(found.graph.find(name).unwrap());
    assert_eq!(node("blocks.12.expand").inputs[1], node("blocks.12.project").inputs[1]);
    assert_eq!(
        found.weights.get("blocks.12.expand.weight").shape[..2],
        [2, weights.get("blocks.12.expand.weight").shape[0]]
    );
    assert_eq!(graph.output_shape(), found.graph.output_shape());
}

#[test]
fn what_is_missing_superfluous_or_of_another_shape_is_reported_with_neighbours() {
    let (_, weights) = network("rn4");
    let bytes = dyconv_torch::export(&network("rn4").0, &weights, 1.0, "rn4", dyconv_torch::Names::Timm).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut tensors = read_state_dict(file.path()).unwrap().tensors;
    let lost = tensors.remove("layer2.0.conv1.weight").unwrap();
    tensors.insert("layer2.0.conv_1.weight".into(), lost);
    tensors.insert("layer1.0.bn1.bias".into(), Tensor::full(&[9], 0.0));
    let Err(TorchError::Mismatch(report)) = import(&tensors) else { panic!("it was accepted") };
    assert_eq!(report.missing.len(), 1);
    assert_eq!(report.missing[0].nearest.as_deref(), Some("layer2.0.conv_1.weight"));
    assert_eq!((report.mismatched.len(), &report.mismatched[0].found), (1, &vec![9]));
    assert_eq!(report.unused[0].name, "layer2.0.conv_1.weight");
    let line = TorchError::Mismatch(report).to_string();
    assert!(
        line.contains("1 tensor missing, first `layer2.0.conv1.weight`") && line.contains("`layer2.0.conv_1.weight`"),
        "{line}"
    );
    assert!(line.contains("1 tensor of another shape, first `layer1.0.bn1.bias` [9], expected [4]"), "{line}");
}

#[test]
fn networks_that_are_not_known_name_the_nearest() {
    let other = |names: &[&str]| {
        let tensors = names.iter().map(|n| ((*n).to_owned(), Tensor::full(&[2, 2], 0.0))).collect();
        import(&tensors).map(|_| ()).unwrap_err().to_string()
    };
    let error = other(&["vit.cls_token", "vit.blocks.0.attn.qkv.weight"]);
    assert!(
        error.starts_with("no known architecture has these 2 tensors (`vit.blocks.0.attn.qkv.weight`, "),
        "{error}"
    );
    let error = other(&["layer1.0.conv1.attention.channel_fc.weight"]);
    assert!(error.contains("ODConv"), "{error}");
    let dict = read(&BTreeMap::from([("a.weight".to_owned(), Tensor::full(&[1], 0.0))]));
    let error = import_at(&dict, Some("resnet81"), None).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "unknown architecture `resnet81`; did you mean `resnet18`?");
}
