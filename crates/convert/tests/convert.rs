//! Imports and exports as a library meets them: what is typed, what is refused, what is left behind. That the numbers are PyTorch's
//! is shown by the tests of the program, over all of `golden/`.

use std::fs;
use std::path::{Path, PathBuf};

use dyconv_convert::{
    Array, Batch, ConvertError, Form, ImportOptions, Imported, MeanAttention, Names, OnnxOptions, Pair, Remedy,
    SourceProblem, export_hub, export_onnx, export_torch, import, with_attention,
};
use dyconv_engine::{Plan, Session};
use dyconv_graph::{Builder, Conv2d, Graph, Weights, init};
use dyconv_onnx::write::{WriteOptions, write};
use dyconv_task::{Orientation, Preprocessing, Skeleton};
use serde_json::json;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(name)
}

/// A small static network of PyTorch.
fn rn4() -> PathBuf {
    golden("torch/rn4.safetensors")
}

/// The values of a file of NumPy, which are little-endian floats in C order in all of `golden/`.
fn array(name: &str, shape: &[usize]) -> Array {
    let bytes = fs::read(golden(name)).unwrap();
    let header = 10 + usize::from(bytes[8]) + 256 * usize::from(bytes[9]);
    let values = bytes[header..].as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Array { name: name.to_owned(), shape: shape.to_owned(), values }
}

/// The pictures and PyTorch's answers of [`rn4`].
fn pair() -> Pair {
    let output = array("torch/rn4.out.npy", &[2, 5]);
    Pair { input: array("torch/pictures.npy", &[2, 3, 32, 32]), output }
}

/// [`rn4`] for images of the size of the pictures.
fn imported(options: ImportOptions) -> Imported {
    import(rn4(), ImportOptions { image_size: Some([32, 32]), ..options }).unwrap()
}

fn refused(source: &Path, options: ImportOptions) -> ConvertError {
    import(source, options).unwrap_err()
}

fn answers(graph: &Graph, weights: &Weights, tau: f32, pair: &Pair) -> Vec<f32> {
    let plan = Plan::new(graph, weights, tau).unwrap();
    Session::new(plan).predict(&pair.input.values, pair.input.shape[0]).unwrap()
}

/// Everything in a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_differs_is_an_error_with_the_report() {
    let good = imported(ImportOptions { check: Some(pair()), ..ImportOptions::default() });
    let check = good.report.check.clone().unwrap();
    assert!(check.difference.is_within(1e-5) && check.expected == "torch/rn4.out.npy", "{check:?}");

    let mut other = pair();
    other.output.values[3] += 1.0;
    let error = refused(&rn4(), ImportOptions { check: Some(other), ..ImportOptions::default() });
    let ConvertError::Differs(report) = error else { panic!("{error}") };
    assert!(!report.check.as_ref().unwrap().difference.is_within(1e-3), "{report:?}");
    assert_eq!((&report.tensors, &report.architecture), (&good.report.tensors, &good.report.architecture));
    // JSON has it all on one level, with notes as text.
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["kind"], &json["check"]["rows"]), (&json!("state dict"), &json!(2)));
    assert_eq!(json["tensors"]["notes"][0], json!(report.tensors.notes[0].text));
}

#[test]
fn arrays_that_do_not_fit_are_named() {
    let says = |change: fn(&mut Pair), expected: &str| {
        let mut pair = pair();
        change(&mut pair);
        let error = refused(&rn4(), ImportOptions { check: Some(pair), ..ImportOptions::default() });
        assert!(matches!(error, ConvertError::Array { .. }) && error.to_string().contains(expected), "{error}");
    };
    says(|pair| pair.input.values.truncate(6143), "pictures.npy: has shape [2, 3, 32, 32], but 6143 values");
    says(|pair| pair.output.shape = vec![usize::MAX, 2, 3], "rn4.out.npy: has shape");
    says(|pair| pair.output.shape = vec![1, 10], "rn4.out.npy: has shape [1, 10], the network answers 2 × [5]");
    says(|pair| pair.input.shape = vec![6, 32, 32], "pictures.npy: has shape [6, 32, 32], the network expects [N, 3, ");
}

#[test]
fn what_the_source_does_not_say_is_assumed_with_its_remedy() {
    let plain = imported(ImportOptions::default());
    let remedies: Vec<Remedy> = plain.report.tensors.notes.iter().filter_map(|note| note.remedy).collect();
    assert_eq!(remedies, [Remedy::Classes, Remedy::Preprocessing]);
    assert!(plain.report.tensors.notes.iter().all(|note| !note.text.contains("--")));

    let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let preprocessing =
        json!({"resize": 40, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "lanczos", "crop": "squash"});
    let told = imported(ImportOptions {
        classes: Some(names.clone()),
        preprocessing: preprocessing.as_object().unwrap().clone(),
        tau: Some(3.0),
        ..ImportOptions::default()
    });
    assert!(told.report.tensors.notes.iter().all(|note| note.remedy.is_none()), "{:?}", told.report.tensors.notes);
    assert_eq!((told.model.classes(), told.model.tau), (&names[..], 3.0));
    assert_eq!((told.model.preprocessing.resize, told.report.tau), (40, 3.0));
}

#[test]
fn options_that_do_not_fit_are_typed() {
    let onnx = golden("onnx/golden_static_b2-dynamo.onnx");
    let arch = ImportOptions { arch: Some("resnet18".into()), ..ImportOptions::default() };
    assert!(matches!(refused(&onnx, arch), ConvertError::ArchOfOnnx { .. }));
    for tau in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let tau = ImportOptions { tau: Some(tau), ..ImportOptions::default() };
        assert!(matches!(refused(&rn4(), tau), ConvertError::Temperature(_)));
    }
    let classes = ImportOptions { classes: Some(vec!["a".into()]), ..ImportOptions::default() };
    assert!(matches!(refused(&rn4(), classes), ConvertError::Classes { named: 1, outputs: 5 }));
    let skeleton = ImportOptions { skeleton: Some(Skeleton::coco()), ..ImportOptions::default() };
    assert!(matches!(refused(&rn4(), skeleton), ConvertError::SkeletonOfClassifier));
    let set = |set: serde_json::Value| ImportOptions {
        preprocessing: set.as_object().unwrap().clone(),
        ..ImportOptions::default()
    };
    assert!(matches!(refused(&rn4(), set(json!({"image_size": 8}))), ConvertError::PreprocessingOfNetwork(_)));
    assert!(matches!(refused(&rn4(), set(json!({"crop": 1}))), ConvertError::PreprocessingKey { .. }));
    assert!(matches!(refused(&rn4(), set(json!({"std": [0, 0, 0]}))), ConvertError::Preprocessing(_)));
    let size = ImportOptions { image_size: Some([0, 0]), ..ImportOptions::default() };
    assert!(matches!(refused(&onnx, size), ConvertError::ImageSize { size: [0, 0], .. }));
    let kernels = ImportOptions { to_dynamic: Some(1), ..ImportOptions::default() };
    assert!(matches!(refused(&rn4(), kernels), ConvertError::Graph(_)));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert!(matches!(refused(&path, ImportOptions::default()), ConvertError::Open(_)));
    fs::write(&path, b"").unwrap();
    let error = refused(&path, ImportOptions::default());
    assert!(matches!(error, ConvertError::Source { problem: SourceProblem::Empty, .. }), "{error}");
    imported(ImportOptions::default()).model.write(&path).unwrap();
    let error = refused(&path, ImportOptions::default());
    assert!(matches!(error, ConvertError::Source { problem: SourceProblem::Model, .. }), "{error}");
}

/// An ONNX file that says nothing of its answer, which is this number of heat maps.
fn heat_maps(folder: &TempDir, maps: usize) -> PathBuf {
    let mut b = Builder::new([3, 8, 8]).unwrap();
    let x = b.input();
    let y = b.push("conv", dyconv_graph::Op::Conv(Conv2d::new(maps, [3, 3])), &[x]).unwrap();
    let graph = b.finish(y).unwrap();
    let written = write(&graph, &init(&graph, Default::default()), 1.0, &WriteOptions::default()).unwrap();
    let path = folder.path().join(format!("{maps}.onnx"));
    fs::write(&path, written.model).unwrap();
    path
}

#[test]
fn heat_maps_need_a_skeleton() {
    let folder = tempfile::tempdir().unwrap();
    let coco = import(heat_maps(&folder, 17), ImportOptions::default()).unwrap();
    assert_eq!(coco.model.skeleton(), Some(&Skeleton::coco()));
    assert!(coco.report.tensors.notes.iter().any(|note| note.remedy == Some(Remedy::Skeleton)));
    let four = heat_maps(&folder, 4);
    assert!(matches!(refused(&four, ImportOptions::default()), ConvertError::NoSkeleton { maps: 4, .. }));
    let with = |skeleton| ImportOptions { skeleton: Some(skeleton), ..ImportOptions::default() };
    assert!(matches!(refused(&four, with(Skeleton::coco())), ConvertError::Joints { joints: 17, maps: 4 }));
    let none = Skeleton { joints: Vec::new(), ..Skeleton::coco() };
    assert!(matches!(refused(&four, with(none)), ConvertError::Skeleton(_)));
    let classes = ImportOptions { classes: Some(vec!["a".into()]), ..ImportOptions::default() };
    assert!(matches!(refused(&four, classes), ConvertError::ClassesOfKeypoints));
    // The box of a person is one affine map.
    let crop = json!({"crop": "squash"}).as_object().unwrap().clone();
    let error = refused(&heat_maps(&folder, 17), ImportOptions { preprocessing: crop, ..ImportOptions::default() });
    assert!(matches!(error, ConvertError::Preprocessing(_)), "{error}");
}

/// A dynamic network with three kernels a layer, and the static one that it was made of.
fn dynamic() -> (Imported, Imported) {
    (imported(ImportOptions { to_dynamic: Some(3), ..ImportOptions::default() }), imported(ImportOptions::default()))
}

fn attention(imported: &Imported, values: &[f32]) -> MeanAttention {
    imported.model.graph.mixtures().map(|(layer, _)| (layer.name.clone(), values.to_vec())).collect()
}

#[test]
fn frozen_attention_is_the_given_one() {
    let (dynamic, original) = dynamic();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frozen.onnx");
    let expected = answers(&original.model.graph, &original.model.weights, 1.0, &pair());
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let far = |found: &[f32]| found.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
    let found = |values: &[f32]| {
        let attention = attention(&dynamic, values);
        let (graph, weights) = with_attention(&dynamic.model, &attention).unwrap();
        let options = OnnxOptions { form: Some(Form::Frozen(attention)), ..OnnxOptions::default() };
        let report = export_onnx(&dynamic.model, &path, &options).unwrap();
        assert_eq!((report.form, report.checks.len()), (Some("frozen"), 2));
        let back = import(&path, ImportOptions::default()).unwrap().model;
        assert_eq!((graph.dynamic_layers() > 0, back.graph.dynamic_layers()), (true, 0));
        let dynamic = answers(&graph, &weights, dynamic.model.tau, &pair());
        (dynamic, answers(&back.graph, &back.weights, back.tau, &pair()))
    };
    // The mean of a new bank is the static kernel; with other attention it is another network, the same in both forms.
    let third = 1.0 / 3.0;
    for (values, is_static) in [([third; 3], true), ([0.5, 0.125, 0.375], false), ([0.1; 3], false)] {
        let (constant, frozen) = found(&values);
        let apart = constant.iter().zip(&frozen).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(apart < 1e-5, "{values:?}: {constant:?} {frozen:?}");
        assert_eq!(far(&frozen) < 1e-5, is_static, "{values:?}: {frozen:?} {expected:?}");
        assert!(is_static || far(&frozen) > 1e-2, "{values:?}: {frozen:?} {expected:?}");
    }
}

#[test]
fn attention_that_does_not_fit_names_its_layer() {
    let (dynamic, _) = dynamic();
    let layer = dynamic.model.graph.mixtures().next().unwrap().0.name.clone();
    let folder = tempfile::tempdir().unwrap();
    let says = |change: &dyn Fn(&mut MeanAttention), name: &str, expected: &str| {
        let mut attention = attention(&dynamic, &[0.2, 0.3, 0.5]);
        change(&mut attention);
        let options = OnnxOptions { form: Some(Form::Frozen(attention)), ..OnnxOptions::default() };
        let error = export_onnx(&dynamic.model, &folder.path().join("x.onnx"), &options).unwrap_err();
        assert!(matches!(&error, ConvertError::Attention { layer, .. } if layer == name), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    says(&|attention| drop(attention.remove(&layer)), &layer, "is missing");
    says(&|attention| drop(attention.insert(layer.clone(), vec![1.0])), &layer, "has 1 values, expected 3");
    says(&|attention| drop(attention.insert(layer.clone(), vec![f32::NAN; 3])), &layer, "not finite");
    says(&|attention| drop(attention.insert("other".into(), vec![1.0])), "other", "no such dynamic layer");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn options_of_onnx_are_checked() {
    let (dynamic, original) = dynamic();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let form = |form| OnnxOptions { form: Some(form), ..OnnxOptions::default() };
    let error = export_onnx(&original.model, &path, &form(Form::Portable)).unwrap_err();
    assert!(matches!(error, ConvertError::StaticForm("portable")), "{error}");
    for n in [0, 65_537, usize::MAX] {
        let options = OnnxOptions { batch: Some(Batch::Fixed(n)), ..OnnxOptions::default() };
        let error = export_onnx(&original.model, &path, &options).unwrap_err();
        assert!(matches!(error, ConvertError::Batch(found) if found == n), "{error}");
    }
    let options = OnnxOptions { batch: Some(Batch::Free), ..form(Form::Exact) };
    let error = export_onnx(&dynamic.model, &path, &options).unwrap_err();
    assert!(matches!(error, ConvertError::Onnx { .. }), "{error}");
    let error = export_onnx(&original.model, Path::new(".."), &OnnxOptions::default()).unwrap_err();
    assert!(matches!(error, ConvertError::NoFileName(_)), "{error}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
    // A large batch is run with fewer samples.
    let options = OnnxOptions { batch: Some(Batch::Fixed(65_536)), ..OnnxOptions::default() };
    let report = export_onnx(&original.model, &path, &options).unwrap();
    assert_eq!((report.batch, report.checks[0].batch), (Some(65_536), 16));
    assert_eq!(report.notes[0].text, "it takes 65536 samples per run, and was compared with 16 of them");
}

#[test]
fn files_are_replaced_by_whole_ones_alone() {
    let (dynamic, original) = dynamic();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    fs::write(&path, b"old").unwrap();
    let mut unnamed = original.model.clone();
    unnamed.provenance.model.clear();
    let error = export_torch(&unnamed, &path, Names::Timm).unwrap_err();
    assert!(matches!(error, ConvertError::NoArchitecture), "{error}");
    // The weights of another network.
    let other = dyconv_file::Model { weights: dynamic.model.weights.clone(), ..original.model.clone() };
    let error = export_torch(&other, &path, Names::Timm).unwrap_err();
    assert!(matches!(error, ConvertError::Torch { .. }), "{error}");
    assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"old".to_vec(), 1));
    let report = export_torch(&original.model, &path, Names::Timm).unwrap();
    assert_eq!((report.names, report.files[0].bytes), (Some("timm"), path.metadata().unwrap().len()));
    assert_eq!((report.checks[0].difference.largest_relative_difference, report.notes.len()), (0.0, 0));
    assert_eq!(names(folder.path()), ["state.safetensors"]);

    let onnx = folder.path().join("net.onnx");
    for model in [&original.model, &dynamic.model] {
        let report = export_onnx(model, &onnx, &OnnxOptions::default()).unwrap();
        assert_eq!(report.files[0].bytes, onnx.metadata().unwrap().len());
    }
    assert_eq!(
        import(&onnx, ImportOptions::default()).unwrap().model.graph.dynamic_layers(),
        dynamic.report.dynamic_layers
    );
    assert_eq!(names(folder.path()), ["net.onnx", "state.safetensors"]);
}

#[test]
fn a_hub_folder_is_written_where_there_is_nothing() {
    let (dynamic, _) = dynamic();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("a/hub");
    let report = export_hub(&dynamic.model, &folder).unwrap();
    assert_eq!(
        (names(&folder), report.files.len()),
        (["README.md", "config.json", "model.safetensors"].map(str::to_owned).to_vec(), 3)
    );
    assert_eq!(names(folder.parent().unwrap()), ["hub"]);
    // New routers have another temperature than 1, which comes back.
    let back = import(&folder, ImportOptions::default()).unwrap();
    assert_eq!((back.report.kind, back.model.tau), ("hub folder", 30.0));
    assert_eq!(back.model.task, dynamic.model.task);
    // timm's configuration has no word for the orientation, and timm applies none.
    let preprocessing = Preprocessing { orientation: Orientation::Ignore, ..dynamic.model.preprocessing.clone() };
    assert_eq!(back.model.preprocessing, preprocessing);
    assert!(back.model.graph == dynamic.model.graph && back.model.weights == dynamic.model.weights);
    assert_eq!(back.model.provenance, dynamic.model.provenance);
    let error = export_hub(&dynamic.model, &folder).unwrap_err();
    assert!(matches!(error, ConvertError::NotEmpty(_)), "{error}");
    // An empty folder is filled, and nothing is left in it where that fails.
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut other = dynamic.model.clone();
    other.provenance.model = "no_such_network".into();
    export_hub(&other, &empty).unwrap_err();
    assert_eq!(names(&empty), Vec::<String>::new());
    export_hub(&dynamic.model, &empty).unwrap();
    assert_eq!(names(&empty), names(&folder));
}
