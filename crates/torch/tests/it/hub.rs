//! Hub folders: what is written is read again, and what others write is understood.

use dyconv_file::{Model, Preprocessing, Provenance, Task};
use dyconv_graph::{Init, Op, init};
use dyconv_models::{Options, build};
use dyconv_task::{CropMode, Interpolation, Orientation};
use dyconv_torch::{open, write_hub};

fn model(name: &str, side: usize, resize: usize) -> Model {
    let graph = build(name, &Options { classes: 3, image_size: [side; 2], ..Options::default() }).unwrap();
    let weights = init(&graph, Init { seed: 4, ..Init::default() });
    Model {
        weights,
        graph,
        tau: 1.0,
        preprocessing: Preprocessing {
            interpolation: Interpolation::Bicubic,
            orientation: Orientation::Ignore,
            crop: CropMode::Squash,
            ..Preprocessing::usual(3, [side; 2], resize)
        },
        task: Task::Classification { classes: ["a", "b: c", "\"d\""].map(str::to_owned).to_vec() },
        provenance: Provenance { model: name.to_owned(), ..Provenance::default() },
    }
}

#[test]
fn a_written_folder_is_the_same_model_again() {
    for (name, side, resize) in
        [("mobilenet_v2_x0_35", 64, 73), ("dy_rn4", 32, 32), ("efficientnet_lite0_x0_25", 64, 71)]
    {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("hub");
        let model = model(name, side, resize);
        write_hub(&dir, &model).unwrap();
        let source = open(dir.to_str().unwrap()).unwrap();
        assert_eq!(source.preprocessing.as_ref(), Some(&model.preprocessing), "{name}");
        assert_eq!(source.classes.as_deref(), Some(model.classes()), "{name}");
        let imported = source.import(None, None).unwrap();
        assert!(imported.weights == model.weights && imported.graph == model.graph, "{name}");
        assert_eq!(imported.arch, name);
        let readme = std::fs::read_to_string(dir.join("README.md")).unwrap();
        assert!(readme.starts_with("---\ntags:\n- image-classification\n") && readme.contains("\n---\n"), "{readme}");
    }
}

#[test]
fn names_of_timm_are_written_where_it_has_the_network() {
    let written = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        write_hub(folder.path(), &model(name, 64, 64)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let config = written("mobilenet_v3_small_x0_5");
    assert_eq!(config["architecture"], "mobilenetv3_small_050");
    // timm's network of this name has another epsilon.
    assert_eq!(config["model_args"]["bn_eps"], 0.001);
    assert_eq!(config["pretrained_cfg"]["mean"][0], 0.485);
    assert_eq!(written("mobilenet_v2_x0_35")["architecture"], "mobilenetv2_035");
    assert!(written("mobilenet_v2_x0_35").get("model_args").is_none());
    assert_eq!(written("dy_rn4")["architecture"], "dy_rn4");
}

#[test]
fn the_architecture_of_a_port_from_tensorflow_says_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    write_hub(folder.path(), &model("efficientnet_lite0_x0_25", 64, 64)).unwrap();
    let source = open(folder.path().to_str().unwrap()).unwrap();
    let graph = source.import(Some("tf_efficientnet_lite0.in1k"), None).unwrap().graph;
    let stem = graph.node(graph.find("stem").unwrap());
    assert!(
        matches!(&stem.op, Op::Conv(conv) if conv.padding == [0, 0] && conv.end_padding == Some([1, 1])),
        "{:?}",
        stem.op
    );
    assert!(graph.nodes().iter().all(|n| !matches!(n.op, Op::BatchNorm { eps } if eps != 1e-3)));
}

#[test]
fn what_a_folder_lacks_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().to_str().unwrap();
    assert!(open(source).unwrap_err().to_string().contains("holds no weights"));
    write_hub(folder.path(), &model("rn4", 32, 32)).unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"label_names": ["a", "b"]}"#).unwrap();
    let error = open(source).unwrap().import(None, None).unwrap_err().to_string();
    assert_eq!(error, "2 class names came with the weights, but the network has 3 outputs");
    std::fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(open(source).unwrap_err().to_string().contains("config.json: is no JSON"));
    assert!(open("no/such/file").unwrap_err().to_string().contains("no/such/file: cannot be read"));
}
