//! The preprocessing of an imported network: what its source says, what `--set` says, or the usual.

use anyhow::{anyhow, bail};
use dyconv_task::Preprocessing;
use toml::{Table, Value};

use crate::settings;

/// Keys that the network decides.
const OF_THE_NETWORK: [&str; 2] = ["channels", "image_size"];

/// The preprocessing for a network with this input, `found` in its source and changed by `set`. If there is none in the
/// source, also returns a note on what was assumed.
pub fn preprocessing(
    found: Option<Preprocessing>,
    [channels, height, width]: [usize; 3],
    set: &[Table],
) -> anyhow::Result<(Preprocessing, Option<String>)> {
    let assumed = found.is_none();
    let mut base = found.unwrap_or_else(|| usual(channels, [height, width]));
    if base.channels != channels {
        bail!("its preprocessing is for {} channels, but the network's input has {channels}", base.channels);
    }
    if base.image_size != [height, width] {
        // In proportion: the same part of the image is seen.
        let side = |[h, w]: [usize; 2]| h.min(w).max(1);
        base.resize = (base.resize * side([height, width]) / side(base.image_size)).clamp(1, 16_384);
        base.image_size = [height, width];
    }
    let mut table = Table::try_from(&base)?;
    if let Some(key) = OF_THE_NETWORK.into_iter().find(|key| sets(set, key)) {
        bail!("--set preprocessing.{key}: the network decides it; --image-size sets the height and width of its input");
    }
    settings::apply(&mut table, set, "preprocessing", "keys of the preprocessing")?;
    let made: Preprocessing =
        Value::Table(table).try_into().map_err(|e| anyhow!("--set preprocessing: {}", settings::one_line(&e)))?;
    made.check().map_err(|e| anyhow!("preprocessing: {e}"))?;
    let unset: Vec<&str> =
        ["resize", "mean", "std", "interpolation", "crop"].into_iter().filter(|key| !sets(set, key)).collect();
    let note = (assumed && !unset.is_empty()).then(|| {
        format!(
            "the source does not say how images are prepared: assumed {}; --set preprocessing.KEY=VALUE says otherwise",
            unset.into_iter().map(|key| shown(&made, key)).collect::<Vec<_>>().join(", ")
        )
    });
    Ok((made, note))
}

/// ImageNet's, with a resize of 8/7 of the input.
pub fn usual(channels: usize, [height, width]: [usize; 2]) -> Preprocessing {
    Preprocessing::usual(channels, [height, width], (height.min(width) * 256 / 224).clamp(1, 16_384))
}

/// Whether one of the settings sets this key.
fn sets(set: &[Table], key: &str) -> bool {
    set.iter().any(|table| matches!(table.get("preprocessing"), Some(Value::Table(given)) if given.contains_key(key)))
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

    fn set(texts: &[&str]) -> Vec<Table> {
        texts.iter().map(|text| settings::parse(text, "").unwrap()).collect()
    }

    #[test]
    fn the_usual_is_assumed_and_said() {
        let (made, note) = preprocessing(None, [3, 224, 224], &[]).unwrap();
        assert_eq!(made, Preprocessing::usual(3, [224, 224], 256));
        let note = note.unwrap();
        let words = "assumed resize 256, mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225], bilinear, center crop;";
        assert!(note.contains(words), "{note}");
    }

    #[test]
    fn settings_win_and_are_not_assumed() {
        let given = set(&[
            "preprocessing.interpolation=bicubic",
            "preprocessing.mean=[0.5, 0.5, 0.5]",
            "preprocessing.std=[0.25,0.25,0.25]",
            "preprocessing.resize=240",
            "preprocessing.crop=squash",
        ]);
        let (made, note) = preprocessing(None, [3, 224, 224], &given).unwrap();
        assert_eq!((made.interpolation, made.crop, made.resize), (Interpolation::Bicubic, CropMode::Squash, 240));
        assert_eq!((made.mean, made.std, note), (vec![0.5; 3], vec![0.25; 3], None));
        let found = Preprocessing { interpolation: Interpolation::Lanczos, ..made_for([224, 224], 248) };
        let (made, note) = preprocessing(Some(found.clone()), [3, 224, 224], &[]).unwrap();
        assert_eq!((made, note), (found.clone(), None));
        let (made, _) = preprocessing(Some(found), [3, 112, 112], &[]).unwrap();
        assert_eq!((made.image_size, made.resize, made.interpolation), ([112, 112], 124, Interpolation::Lanczos));
    }

    fn made_for(size: [usize; 2], resize: usize) -> Preprocessing {
        Preprocessing::usual(3, size, resize)
    }

    #[test]
    fn wrong_settings_are_named() {
        let says = |text: &str, expected: &str| {
            let error = preprocessing(None, [3, 8, 8], &set(&[text])).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        says("preprocessing.image_size=[8,8]", "--image-size sets");
        says("preprocessing.interpolation=cubic", "unknown variant `cubic`");
        says("preprocessing.colour=bgr", "unknown field `colour`");
        says("preprocessing.mean=[0.5]", "one value for each of 3 channels");
        says("model.kernels=3", "only keys of the preprocessing can be set here");
        let grey = Preprocessing::usual(1, [8, 8], 8);
        let error = preprocessing(Some(grey), [3, 8, 8], &[]).unwrap_err().to_string();
        assert!(error.contains("is for 1 channels, but the network's input has 3"), "{error}");
    }
}
