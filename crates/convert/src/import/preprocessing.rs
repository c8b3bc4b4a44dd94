//! The preprocessing of an imported network: what its source says, what the caller says, or the usual.

use dyconv_task::Preprocessing;
use serde_json::{Map, Value};

use crate::error::ConvertError;
use crate::note::{Note, Remedy};

/// Keys that the network decides.
const OF_THE_NETWORK: [&str; 2] = ["channels", "image_size"];

/// The preprocessing for a network with this input, `found` in its source and changed by `set`. If there is none in the
/// source, also returns a note on what was assumed.
pub fn preprocessing(
    found: Option<Preprocessing>,
    [channels, height, width]: [usize; 3],
    set: &Map<String, Value>,
) -> Result<(Preprocessing, Option<Note>), ConvertError> {
    let assumed = found.is_none();
    let mut made = found.unwrap_or_else(|| usual(channels, [height, width]));
    if made.channels != channels {
        return Err(ConvertError::Preprocessing(format!(
            "it is for {} channels, but the network's input has {channels}",
            made.channels
        )));
    }
    if made.image_size != [height, width] {
        // In proportion: the same part of the image is seen.
        let side = |[h, w]: [usize; 2]| h.min(w).max(1);
        made.resize = (made.resize * side([height, width]) / side(made.image_size)).clamp(1, 16_384);
        made.image_size = [height, width];
    }
    if let Some(key) = OF_THE_NETWORK.into_iter().find(|key| set.contains_key(*key)) {
        return Err(ConvertError::PreprocessingOfNetwork(key));
    }
    for (key, value) in set {
        let failed = |message| ConvertError::PreprocessingKey { key: key.clone(), message };
        made = with(&made, key, value).map_err(failed)?;
    }
    made.check().map_err(ConvertError::Preprocessing)?;
    let unset: Vec<&str> =
        ["resize", "mean", "std", "interpolation", "crop"].into_iter().filter(|key| !set.contains_key(*key)).collect();
    let note = (assumed && !unset.is_empty()).then(|| {
        let shown = unset.into_iter().map(|key| shown(&made, key)).collect::<Vec<_>>().join(", ");
        let text = format!("the source does not say how images are prepared: assumed {shown}");
        Note::with(text, Remedy::Preprocessing)
    });
    Ok((made, note))
}

/// The preprocessing with another value of a key.
fn with(base: &Preprocessing, key: &str, value: &Value) -> Result<Preprocessing, String> {
    let mut fields = serde_json::to_value(base).map_err(|e| e.to_string())?;
    fields[key] = value.clone();
    serde_json::from_value(fields).map_err(|error| {
        let message = error.to_string();
        // Some messages name the field already.
        message.strip_prefix(&format!("preprocessing: {key}: ")).map_or(message.clone(), str::to_owned)
    })
}

/// ImageNet's, with a resize of 8/7 of the input.
pub fn usual(channels: usize, [height, width]: [usize; 2]) -> Preprocessing {
    Preprocessing::usual(channels, [height, width], (height.min(width) * 256 / 224).clamp(1, 16_384))
}

fn shown(p: &Preprocessing, key: &str) -> String {
    match key {
        "resize" => format!("resize {}", p.resize),
        "mean" => format!("mean {:?}", p.mean),
        "std" => format!("std {:?}", p.std),
        "interpolation" => p.interpolation.name().to_owned(),
        _ => format!("{} crop", p.crop.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_task::{CropMode, Interpolation};
    use serde_json::json;

    fn set(fields: Value) -> Map<String, Value> {
        fields.as_object().unwrap().clone()
    }

    #[test]
    fn the_usual_is_assumed_and_said() {
        let (made, note) = preprocessing(None, [3, 224, 224], &Map::new()).unwrap();
        assert_eq!(made, Preprocessing::usual(3, [224, 224], 256));
        let note = note.unwrap();
        let words = "assumed resize 256, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225], bilinear, center crop";
        assert!(note.text.ends_with(words), "{note}");
        assert_eq!(note.remedy, Some(Remedy::Preprocessing));
    }

    #[test]
    fn settings_win_and_are_not_assumed() {
        let given = set(json!({
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "resize": 240,
            "crop": "squash",
        }));
        let (made, note) = preprocessing(None, [3, 224, 224], &given).unwrap();
        assert_eq!((made.interpolation, made.crop, made.resize), (Interpolation::Bicubic, CropMode::Squash, 240));
        assert_eq!((made.mean, made.std, note), (vec![0.5; 3], vec![0.25; 3], None));
        let found = Preprocessing { interpolation: Interpolation::Lanczos, ..made_for([224, 224], 248) };
        let (made, note) = preprocessing(Some(found.clone()), [3, 224, 224], &Map::new()).unwrap();
        assert_eq!((made, note), (found.clone(), None));
        let (made, _) = preprocessing(Some(found), [3, 112, 112], &Map::new()).unwrap();
        assert_eq!((made.image_size, made.resize, made.interpolation), ([112, 112], 124, Interpolation::Lanczos));
    }

    fn made_for(size: [usize; 2], resize: usize) -> Preprocessing {
        Preprocessing::usual(3, size, resize)
    }

    #[test]
    fn wrong_settings_are_named() {
        let says = |fields: Value, expected: &str| {
            let error = preprocessing(None, [3, 8, 8], &set(fields)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        says(json!({"image_size": [8, 8]}), "preprocessing.image_size: the network decides it");
        says(json!({"channels": 1}), "preprocessing.channels: the network decides it");
        says(
            json!({"interpolation": "cubic"}),
            "preprocessing.interpolation: unknown variant `cubic`, expected one of `nearest`",
        );
        says(json!({"colour": "bgr"}), "preprocessing.colour: unknown field `colour`");
        says(json!({"resize": "large"}), "preprocessing.resize: invalid type: string \"large\"");
        says(json!({"mean": [0.5]}), "preprocessing: mean needs one value for each of 3 channels, got 1");
        let grey = Preprocessing::usual(1, [8, 8], 8);
        let error = preprocessing(Some(grey), [3, 8, 8], &Map::new()).unwrap_err().to_string();
        assert!(error.contains("is for 1 channels, but the network's input has 3"), "{error}");
    }
}
