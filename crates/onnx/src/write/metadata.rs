//! Texts that travel in the file: our header, and what other programs look for.

use std::collections::BTreeMap;

use dyconv_file::{Model, Task};
use serde::Serialize;

use crate::error::OnnxError;

/// The texts for a written model's `metadata_props`: the whole header of the model file as JSON under `dyconv`; `classes`
/// (or `joints`), `mean`, `std` and `tau` as JSON; and `names`, `task`, `imgsz` and `channels` as ultralytics writes
/// them, which other programs read.
///
/// # Errors
/// If the header describes an impossible model.
pub fn metadata<W>(model: &Model<W>) -> Result<BTreeMap<String, String>, OnnxError> {
    let preprocessing = &model.preprocessing;
    let (task, kind, labels) = match &model.task {
        Task::Classification { classes } => ("classify", "classes", classes),
        Task::Keypoints(skeleton) => ("pose", "joints", &skeleton.joints),
    };
    let [height, width] = preprocessing.image_size;
    Ok([
        ("dyconv", model.header_json()?),
        (kind, json(labels)?),
        ("mean", json(&preprocessing.mean)?),
        ("std", json(&preprocessing.std)?),
        ("tau", json(&model.tau)?),
        ("names", python_dict(labels)),
        ("task", task.to_owned()),
        ("imgsz", format!("[{height}, {width}]")),
        ("channels", preprocessing.channels.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into())
}

fn json(value: &impl Serialize) -> Result<String, OnnxError> {
    serde_json::to_string(value).map_err(|e| OnnxError::Options(format!("its metadata: {e}")))
}

/// A Python dict of names by number, as a literal: `{0: 'cat', 1: 'dog'}`.
fn python_dict(names: &[String]) -> String {
    let literal = |name: &String| {
        let escaped = name.chars().map(|c| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if c.is_control() => format!("\\U{:08x}", u32::from(c)),
            c => c.to_string(),
        });
        escaped.collect::<String>()
    };
    let entries: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{i}: '{}'", literal(name))).collect();
    format!("{{{}}}", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_file::{Preprocessing, Provenance, Skeleton};
    use dyconv_graph::{Builder, Conv2d, Op};

    #[test]
    fn names_are_a_python_literal() {
        let names = ["a", "it's", "back\\slash", "two\nlines", "größe"].map(str::to_owned);
        let expected = r"{0: 'a', 1: 'it\'s', 2: 'back\\slash', 3: 'two\U0000000alines', 4: 'größe'}";
        assert_eq!(python_dict(&names), expected);
        assert_eq!(python_dict(&[]), "{}");
    }

    #[test]
    fn the_header_and_the_words_of_others_are_there() {
        let mut b = Builder::new([1, 8, 6]).unwrap();
        let x = b.input();
        let y = b.push("heatmaps", Op::Conv(Conv2d::new(17, [1, 1])), &[x]).unwrap();
        let mut model = Model {
            graph: b.finish(y).unwrap(),
            weights: (),
            tau: 30.0,
            preprocessing: Preprocessing::usual(1, [8, 6], 8),
            task: Task::Keypoints(Skeleton::coco()),
            provenance: Provenance::default(),
        };
        let found = metadata(&model).unwrap();
        let keys: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(keys, ["channels", "dyconv", "imgsz", "joints", "mean", "names", "std", "task", "tau"]);
        let header: serde_json::Value = serde_json::from_str(&found["dyconv"]).unwrap();
        assert_eq!(header["graph"]["output"], "heatmaps");
        let text = |key: &str| found[key].as_str();
        assert_eq!([text("tau"), text("mean"), text("imgsz")], ["30.0", "[0.5]", "[8, 6]"]);
        assert_eq!([text("task"), text("channels")], ["pose", "1"]);
        assert!(text("names").starts_with("{0: 'nose', 1: 'left_eye'"));
        model.tau = 0.0;
        let error = metadata(&model).unwrap_err().to_string();
        assert_eq!(error, "the model has a header that cannot be used: tau must be a positive number, got 0");
    }
}
