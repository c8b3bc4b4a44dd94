//! `config.json` of timm (with `pretrained_cfg`, or flat as it was before) and of transformers, and transformers'
//! `preprocessor_config.json`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dyconv_graph::short_name;
use dyconv_task::{CropMode, Interpolation, Orientation, Preprocessing};
use serde_json::Value;

use crate::error::{FileProblem, TorchError};

/// Largest JSON file that is read, in bytes.
const MAX_JSON: u64 = 16 << 20;

/// Most classes of a classifier.
const MAX_CLASSES: u64 = 65_536;

/// What timm assumes where a key is missing.
const CROP: f64 = 0.875;

/// What a `config.json` says.
#[derive(Debug, PartialEq)]
pub(super) struct Config {
    pub architecture: Option<String>,
    pub classes: Option<Vec<String>>,
    pub preprocessing: Option<Preprocessing>,
}

/// A field that cannot be used: one sentence.
type Parsed<T> = Result<T, String>;

pub(super) fn read(path: &Path) -> Result<Config, TorchError> {
    parsed(path, config)
}

pub(super) fn read_preprocessor(path: &Path) -> Result<Preprocessing, TorchError> {
    parsed(path, preprocessor)
}

fn parsed<T>(path: &Path, parse: fn(&Value) -> Parsed<T>) -> Result<T, TorchError> {
    let fail = |kind| TorchError::File { path: path.to_owned(), kind };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_JSON + 1).read_to_end(&mut text))
        .map_err(|source| fail(FileProblem::Io { what: "read", source }))?;
    if text.len() as u64 > MAX_JSON {
        return Err(fail(FileProblem::Config(format!("has more than {MAX_JSON} bytes"))));
    }
    let value: Value =
        serde_json::from_slice(&text).map_err(|e| fail(FileProblem::Config(format!("is no JSON: {e}"))))?;
    parse(&value).map_err(|message| fail(FileProblem::Config(message)))
}

fn config(value: &Value) -> Parsed<Config> {
    let Value::Object(_) = value else { return Err("is no JSON object".into()) };
    let cfg = value.get("pretrained_cfg").filter(|cfg| cfg.is_object()).unwrap_or(value);
    let both = |key: &str| value.get(key).filter(|v| !v.is_null()).or_else(|| cfg.get(key).filter(|v| !v.is_null()));
    let architecture = both("architecture").and_then(Value::as_str).map(str::to_owned);
    let count = match both("num_classes") {
        Some(n) => Some(n.as_u64().filter(|n| *n <= MAX_CLASSES).ok_or("num_classes is no number of classes")?),
        None => None,
    };
    let labels = [both("label_names"), both("labels"), both("id2label")].into_iter().flatten().next();
    let classes = labels.map(|labels| class_names(labels, count)).transpose()?;
    let known = ["input_size", "mean", "crop_pct"].iter().any(|key| cfg.get(key).is_some_and(|v| !v.is_null()));
    let preprocessing = if known { Some(pretrained(cfg)?) } else { None };
    Ok(Config { architecture, classes, preprocessing })
}

/// A list of names, or a map from numbers to names, which may have gaps.
fn class_names(labels: &Value, count: Option<u64>) -> Parsed<Vec<String>> {
    let text = |v: &Value| v.as_str().map(str::to_owned).ok_or_else(|| "a class name is no text".to_owned());
    match labels {
        Value::Array(names) => names.iter().map(text).collect(),
        Value::Object(names) => {
            let mut numbered = Vec::new();
            for (id, name) in names {
                let id: u64 = id.parse().ok().filter(|id| *id < MAX_CLASSES).ok_or_else(|| {
                    format!("the class names are numbered, and `{}` is no number of a class", short_name(id))
                })?;
                numbered.push((id, text(name)?));
            }
            let past = numbered.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
            let mut classes: Vec<String> = (0..count.unwrap_or(past).max(past)).map(|i| format!("class {i}")).collect();
            for (id, name) in numbered {
                if let Some(class) = classes.get_mut(id as usize) {
                    *class = name;
                }
            }
            Ok(classes)
        }
        _ => Err("the class names are neither a list nor a map from numbers".into()),
    }
}

/// timm's keys. Its loader does not look at the EXIF orientation.
fn pretrained(cfg: &Value) -> Parsed<Preprocessing> {
    let [channels, height, width] = match given(cfg, "input_size") {
        Some(size) => numbers::<3>(size, "input_size")?,
        None => [3, 224, 224],
    };
    let percent = match given(cfg, "crop_pct") {
        Some(v) => v.as_f64().filter(|p| (0.01..=100.0).contains(p)).ok_or("crop_pct is no share of the image")?,
        None => CROP,
    };
    let crop = match given(cfg, "crop_mode").and_then(Value::as_str) {
        None | Some("center") => CropMode::Center,
        Some("squash") => CropMode::Squash,
        Some("border") => CropMode::Border,
        Some(other) => return Err(format!("crop_mode `{}` is not center, squash or border", short_name(other))),
    };
    let interpolation = match given(cfg, "interpolation").and_then(Value::as_str) {
        None => Interpolation::Bicubic,
        Some(word) => interpolation(word)?,
    };
    // The shorter side for a centre crop, the longer one for the others.
    let side = if crop == CropMode::Center { height.min(width) } else { height.max(width) };
    let (mean, std) = usual(channels);
    finish(Preprocessing {
        channels,
        image_size: [height, width],
        resize: (side as f64 / percent).floor() as usize,
        mean: channel_values(cfg, "mean", mean, channels)?,
        std: channel_values(cfg, "std", std, channels)?,
        orientation: Orientation::Ignore,
        interpolation,
        crop,
    })
}

/// transformers' keys.
fn preprocessor(value: &Value) -> Parsed<Preprocessing> {
    let Value::Object(_) = value else { return Err("is no JSON object".into()) };
    let flag = |key: &str, usual: bool| given(value, key).and_then(Value::as_bool).unwrap_or(usual);
    let size = given(value, "size").map(Size::of).transpose()?.unwrap_or(Size::Both([224, 224]));
    let cropped = given(value, "crop_size").map(Size::of).transpose()?.map(Size::both);
    let (image_size, resize, crop) = match (size, cropped.filter(|_| flag("do_center_crop", cropped.is_some()))) {
        (Size::Shortest(edge), Some(image)) => (image, edge, CropMode::Center),
        (Size::Shortest(edge), None) => {
            let share = given(value, "crop_pct").and_then(Value::as_f64).filter(|p| (0.01..=1.0).contains(p));
            ([edge; 2], share.map_or(edge, |share| (edge as f64 / share) as usize), CropMode::Center)
        }
        (Size::Both(to), Some(image)) => (image, to[0].max(to[1]), CropMode::Squash),
        (Size::Both(to), None) => (to, to[0].max(to[1]), CropMode::Squash),
    };
    let interpolation = match given(value, "resample") {
        None => Interpolation::Bilinear,
        Some(v) => match v.as_u64() {
            Some(0) => Interpolation::Nearest,
            Some(1) => Interpolation::Lanczos,
            Some(2) => Interpolation::Bilinear,
            Some(3) => Interpolation::Bicubic,
            _ => return Err("resample is not 0 (nearest), 1 (Lanczos), 2 (bilinear) or 3 (bicubic)".into()),
        },
    };
    let normalizes = flag("do_normalize", true);
    let (mean, std) = if normalizes { usual(3) } else { (vec![0.0; 3], vec![1.0; 3]) };
    let values = |key, usual: Vec<f32>| if normalizes { channel_values(value, key, usual, 3) } else { Ok(usual) };
    finish(Preprocessing {
        channels: 3,
        image_size,
        resize,
        mean: values("image_mean", mean)?,
        std: values("image_std", std)?,
        orientation: Orientation::Exif,
        interpolation,
        crop,
    })
}

#[derive(Clone, Copy)]
enum Size {
    Shortest(usize),
    Both([usize; 2]),
}

impl Size {
    fn of(value: &Value) -> Parsed<Self> {
        let side = |v: &Value| {
            let side = v.as_u64().and_then(|n| usize::try_from(n).ok());
            side.ok_or_else(|| "a size is no number of pixels".to_owned())
        };
        if let Some(edge) = value.get("shortest_edge") {
            return Ok(Size::Shortest(side(edge)?));
        }
        match (value.get("height"), value.get("width")) {
            (Some(height), Some(width)) => Ok(Size::Both([side(height)?, side(width)?])),
            _ => side(value).map(Size::Shortest),
        }
    }

    fn both(self) -> [usize; 2] {
        match self {
            Size::Shortest(side) => [side; 2],
            Size::Both(sides) => sides,
        }
    }
}

fn interpolation(word: &str) -> Parsed<Interpolation> {
    Ok(match word {
        "nearest" => Interpolation::Nearest,
        "bilinear" => Interpolation::Bilinear,
        "bicubic" => Interpolation::Bicubic,
        "lanczos" => Interpolation::Lanczos,
        // In training timm draws one of two; its evaluation takes bilinear.
        "random" => Interpolation::Bilinear,
        other => {
            return Err(format!("interpolation `{}` is not nearest, bilinear, bicubic or lanczos", short_name(other)));
        }
    })
}

fn usual(channels: usize) -> (Vec<f32>, Vec<f32>) {
    let usual = Preprocessing::usual(channels.min(4), [1, 1], 1);
    (usual.mean, usual.std)
}

fn given<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|v| !v.is_null())
}

fn numbers<const N: usize>(value: &Value, key: &str) -> Parsed<[usize; N]> {
    let numbers: Option<Vec<usize>> =
        value.as_array().and_then(|a| a.iter().map(|v| usize::try_from(v.as_u64()?).ok()).collect());
    numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("{key} is no list of {N} whole numbers"))
}

/// A value for each channel; one number stands for all.
fn channel_values(value: &Value, key: &str, usual: Vec<f32>, channels: usize) -> Parsed<Vec<f32>> {
    let Some(given) = given(value, key) else { return Ok(usual) };
    let number =
        |v: &Value| v.as_f64().map(|v| v as f32).ok_or_else(|| format!("{key} holds something that is no number"));
    match given {
        Value::Array(values) => values.iter().map(number).collect(),
        one => Ok(vec![number(one)?; channels.min(4)]),
    }
}

fn finish(preprocessing: Preprocessing) -> Parsed<Preprocessing> {
    preprocessing.check()?;
    Ok(preprocessing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_new_form_of_timm() {
        let read = config(&json!({
            "architecture": "mobilenetv3_small_100", "num_classes": 3, "label_names": ["a", "b", "c"],
            "pretrained_cfg": {
                "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center",
                "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 1000, "pool_size": [7, 7]
            }
        }))
        .unwrap();
        let p = read.preprocessing.unwrap();
        assert_eq!((p.image_size, p.resize, p.interpolation), ([224, 224], 256, Interpolation::Bicubic));
        assert_eq!((p.mean, p.orientation, p.crop), (vec![0.5; 3], Orientation::Ignore, CropMode::Center));
        assert_eq!(read.classes.unwrap(), ["a", "b", "c"]);
        assert_eq!(read.architecture.as_deref(), Some("mobilenetv3_small_100"));
    }

    #[test]
    fn the_old_form_of_timm_and_its_defaults() {
        let read =
            config(&json!({ "architecture": "resnet18", "labels": ["x", "y"], "input_size": [3, 160, 160] })).unwrap();
        let p = read.preprocessing.unwrap();
        assert_eq!((p.resize, p.interpolation), (182, Interpolation::Bicubic));
        assert_eq!(p.mean, [0.485, 0.456, 0.406]);
        assert_eq!(read.classes.unwrap(), ["x", "y"]);
    }

    #[test]
    fn numbered_names_may_have_gaps() {
        let read = config(&json!({ "num_classes": 4, "label_names": { "0": "a", "2": "c" } })).unwrap();
        assert_eq!(read.classes.unwrap(), ["a", "class 1", "c", "class 3"]);
        let read = config(&json!({ "id2label": { "1": "dog", "0": "cat" }, "architectures": ["X"] })).unwrap();
        assert_eq!((read.classes.unwrap(), read.preprocessing), (vec!["cat".to_owned(), "dog".to_owned()], None));
    }

    #[test]
    fn preprocessor_of_transformers() {
        let p = preprocessor(&json!({
            "do_center_crop": true, "crop_size": { "height": 224, "width": 224 }, "size": { "shortest_edge": 256 },
            "resample": 2, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]
        }))
        .unwrap();
        assert_eq!((p.image_size, p.resize, p.crop), ([224, 224], 256, CropMode::Center));
        assert_eq!((p.interpolation, p.mean), (Interpolation::Bilinear, vec![0.5, 0.4, 0.3]));
        let p = preprocessor(&json!({ "size": { "height": 96, "width": 128 }, "resample": 3, "do_normalize": false }))
            .unwrap();
        assert_eq!((p.image_size, p.resize, p.crop), ([96, 128], 128, CropMode::Squash));
        assert_eq!((p.interpolation, p.std), (Interpolation::Bicubic, vec![1.0; 3]));
        assert_eq!(preprocessor(&json!({ "size": 224, "crop_pct": 0.875 })).unwrap().resize, 256);
    }

    #[test]
    fn impossible_fields_are_named() {
        for (cfg, word) in [
            (json!({ "input_size": [3, 224] }), "input_size"),
            (json!({ "input_size": [3, 0, 224] }), "image_size"),
            (json!({ "input_size": [4096, 8, 8] }), "channels"),
            (json!({ "crop_pct": 0 }), "crop_pct"),
            (json!({ "crop_pct": 0.5, "interpolation": "spline" }), "spline"),
            (json!({ "mean": [1.0] }), "mean"),
            (json!({ "mean": ["a"] }), "mean"),
            (json!({ "num_classes": -1 }), "num_classes"),
            (json!({ "label_names": { "70000": "x" } }), "70000"),
            (json!({ "label_names": [1] }), "class name"),
            (json!({ "input_size": [3, 8, 8], "crop_mode": "five" }), "five"),
            (json!([]), "object"),
        ] {
            let error = config(&cfg).unwrap_err();
            assert!(error.contains(word), "{cfg}: {error}");
        }
    }
}
