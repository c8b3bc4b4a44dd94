//! Writes a hub folder: `model.safetensors`, `config.json` in timm's form, `README.md` with a YAML head.

use std::path::Path;

use dyconv_file::{Model, write_atomically};
use dyconv_graph::{Graph, Op};
use dyconv_task::{CropMode, Preprocessing, Task};
use serde_json::json;

use crate::arch::timm_name;
use crate::error::{FileProblem, TorchError};
use crate::export::{Names, export};

/// Writes a classifier as a hub folder, which timm opens if it has the architecture, and [`open`](super::open) in any case.
/// The folder is made if it does not exist; of its files only these three are replaced.
///
/// # Errors
/// If the model is no classifier, has no known architecture in its provenance, or the files cannot be written.
pub fn write_hub(dir: &Path, model: &Model) -> Result<(), TorchError> {
    let Task::Classification { classes } = &model.task else {
        return Err(TorchError::Source("a hub folder is for classifiers, and this model finds keypoints".into()));
    };
    let arch = &model.provenance.model;
    let bytes = export(&model.graph, &model.weights, model.tau, arch, Names::Timm)?;
    let timm = timm_name(arch, &model.graph);
    let config = config(model, classes, timm.as_deref());
    let json = serde_json::to_string_pretty(&config).map_err(|e| TorchError::Source(e.to_string()))? + "\n";
    let readme = readme(model, classes.len(), timm.as_deref());
    std::fs::create_dir_all(dir).map_err(|source| failed(dir, source))?;
    for (name, bytes) in
        [("model.safetensors", bytes.as_slice()), ("config.json", json.as_bytes()), ("README.md", readme.as_bytes())]
    {
        let path = dir.join(name);
        write_atomically(&path, bytes).map_err(|source| failed(&path, source))?;
    }
    Ok(())
}

fn failed(path: &Path, source: std::io::Error) -> TorchError {
    TorchError::File { path: path.to_owned(), kind: FileProblem::Io { what: "written", source } }
}

/// Epsilon of the batch norms.
fn eps(graph: &Graph) -> Option<f32> {
    graph.nodes().iter().find_map(|node| match node.op {
        Op::BatchNorm { eps } => Some(eps),
        _ => None,
    })
}

fn config(model: &Model, classes: &[String], timm: Option<&str>) -> serde_json::Value {
    let p = &model.preprocessing;
    let features = model.graph.input_shape(model.graph.output()).channels();
    let decimals = |values: &[f32]| -> Vec<f64> {
        // The shortest decimal of an f32, so that 0.485 stays 0.485.
        values.iter().map(|v| v.to_string().parse().unwrap_or(f64::from(*v))).collect()
    };
    let mut config = json!({
        "architecture": timm.unwrap_or(&model.provenance.model),
        "num_classes": classes.len(),
        "num_features": features,
        "global_pool": "avg",
        "label_names": classes,
        "pretrained_cfg": {
            "custom_load": false,
            "input_size": [p.channels, p.image_size[0], p.image_size[1]],
            "fixed_input_size": false,
            "interpolation": p.interpolation.name(),
            "crop_pct": crop_share(p),
            "crop_mode": p.crop.name(),
            "mean": decimals(&p.mean),
            "std": decimals(&p.std),
            "num_classes": classes.len(),
        }
    });
    // Ports from TensorFlow have it in their name.
    let usual = timm.is_none_or(|name| name.starts_with("tf_"));
    if let (false, Some(eps)) = (usual, eps(&model.graph).filter(|eps| *eps != 1e-5)) {
        config["model_args"] = json!({ "bn_eps": eps.to_string().parse::<f64>().unwrap_or(f64::from(eps)) });
    }
    config
}

/// The share of the resized side that is cropped, so that timm's rounding gives the resized side again.
fn crop_share(p: &Preprocessing) -> f64 {
    let [h, w] = p.image_size;
    let side = if p.crop == CropMode::Center { h.min(w) } else { h.max(w) } as f64;
    let exact = side / p.resize as f64;
    if (side / exact).floor() as usize == p.resize { exact } else { side / (p.resize as f64 + 1e-6) }
}

fn readme(model: &Model, classes: usize, timm: Option<&str>) -> String {
    let arch = &model.provenance.model;
    let [c, h, w] = model.graph.input_dims();
    let (library, how) = match timm {
        Some(_) => (
            "timm",
            "```python\nimport timm\n\nmodel = timm.create_model(\"local-dir:PATH\", pretrained=True)\n```\n"
                .to_owned(),
        ),
        None => (
            "dyconv",
            format!(
                "timm has no architecture of this name. Dynamic layers hold a bank of kernels, and mix it with a softmax at \
                 temperature {}.\n",
                model.tau
            ),
        ),
    };
    format!(
        "---\ntags:\n- image-classification\n- dyconv\n{tag}pipeline_tag: image-classification\nlibrary_name: {library}\n---\n\n# \
         {arch}\n\nAn image classifier: {classes} classes, input {c} × {h} × {w}. Preprocessing and class names are in \
         `config.json`.\n\n## Use\n\n```sh\ndyconv import PATH --out model.safetensors\ndyconv predict model.safetensors \
         photo.jpg\n```\n\n{how}",
        tag = if timm.is_some() { "- timm\n" } else { "" },
    )
}
