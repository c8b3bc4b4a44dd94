//! Hints on what the user can do about an error of the libraries, in terms of this program's flags and commands.

use std::error::Error;

use dyconv_convert::{ConvertError, Note, Remedy};
use dyconv_models::ModelError;
use dyconv_onnx::OnnxError;
use dyconv_torch::TorchError;
#[cfg(feature = "train")]
use dyconv_train::{InspectError, Kept, RecipeError, RecipeErrorKind, SetupError, TrainError};

#[cfg(feature = "train")]
use crate::text::shell;

/// The hint to append to an error message: the first one for the error or its causes, if any.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(of)
}

#[cfg(not(feature = "train"))]
fn of(error: &(dyn Error + 'static)) -> Option<String> {
    common(error)
}

/// What every build can meet.
fn common(error: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| error.downcast_ref().and_then(model))
        .or_else(|| error.downcast_ref().and_then(convert))
        .or_else(|| error.downcast_ref().and_then(torch))
        .or_else(|| error.downcast_ref().and_then(onnx))
}

#[cfg(feature = "train")]
fn of(error: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| error.downcast_ref().and_then(train))
        .or_else(|| error.downcast_ref().and_then(setup))
        .or_else(|| error.downcast_ref().and_then(inspect))
        .or_else(|| error.downcast_ref().and_then(recipe))
        .or_else(|| common(error))
}

#[cfg(feature = "train")]
fn train(error: &TrainError) -> Option<String> {
    Some(match error {
        TrainError::Recipe { cause, .. } => return recipe(cause),
        TrainError::NoMpi(_) => "; build it with `--features mpi`".to_owned(),
        TrainError::ProcessesOnDevices => ": leave --device out, or mpirun".to_owned(),
        TrainError::DeviceNumbers => ": say --device cuda".to_owned(),
        TrainError::NotBuilt(feature) => format!("; build it with `--features {feature}`"),
        TrainError::Exists(path) => format!("; go on with it: --resume {}; replace it: --force", shell(path)),
        TrainError::LostStart { from, .. } => {
            format!("; begin it again with --from {} --force", shell(from.as_ref()))
        }
        TrainError::NoCheckpoint { .. } => "; begin anew with --force".to_owned(),
        TrainError::DamagedMetrics { .. } => ", or begin anew with --force".to_owned(),
        TrainError::Write { kept: Some(Kept { resume, .. }), .. } => {
            format!("; once there is room, go on with: dyconv train --resume {}", shell(resume))
        }
        TrainError::Interrupted { resume, .. } => format!("; go on with: dyconv train --resume {}", shell(resume)),
        _ => return None,
    })
}

#[cfg(feature = "train")]
fn setup(error: &SetupError) -> Option<String> {
    match error {
        SetupError::Model(error) => model(error),
        SetupError::Recipe(error) => recipe(error),
        SetupError::Answer { .. } => Some(" (see `dyconv models`)".to_owned()),
        _ => None,
    }
}

#[cfg(feature = "train")]
fn inspect(error: &InspectError) -> Option<String> {
    match error {
        InspectError::Static(_) => Some("; `dyconv train --model dy_…` trains dynamic networks".to_owned()),
        InspectError::Train(error) => train(error),
        _ => None,
    }
}

#[cfg(feature = "train")]
fn recipe(error: &RecipeError) -> Option<String> {
    match error.kind() {
        RecipeErrorKind::SeedAxis => Some("; see --seeds".to_owned()),
        RecipeErrorKind::UnknownRecipe => Some(" (`dyconv recipes` lists all)".to_owned()),
        _ => None,
    }
}

/// Appends to a note of an import what says otherwise.
pub fn extend(note: &mut Note) {
    let Some(remedy) = note.remedy else { return };
    note.text += match remedy {
        Remedy::Classes => "; see --classes",
        Remedy::Skeleton => "; --skeleton says otherwise",
        Remedy::Preprocessing => "; --set preprocessing.KEY=VALUE says otherwise",
        Remedy::Temperature => "; --tau says otherwise",
    };
}

fn convert(error: &ConvertError) -> Option<String> {
    let words = match error {
        ConvertError::ArchOfOnnx { .. } => "; leave --arch out",
        ConvertError::Temperature(_) => "; see --tau",
        ConvertError::Classes { .. } => "; write one name per line, in their order",
        ConvertError::SourceClasses { .. } => "; name them with --classes FILE",
        ConvertError::ClassesOfKeypoints => "; leave --classes out",
        ConvertError::SkeletonOfClassifier => "; leave --skeleton out",
        ConvertError::NoSkeleton { .. } => "; name the keypoints with --skeleton FILE",
        ConvertError::PreprocessingOfNetwork(_) => "; --image-size sets the height and width of its input",
        ConvertError::Differs(_) | ConvertError::NotTheSame { .. } => "; nothing was written",
        ConvertError::StaticForm(_) => "; leave --form out",
        ConvertError::NoArchitecture => "; --onnx writes any network",
        ConvertError::NotEmpty(_) => "; choose another folder",
        _ => return None,
    };
    Some(words.to_owned())
}

fn torch(error: &TorchError) -> Option<String> {
    match error {
        TorchError::Architecture { .. } => Some(" (`dyconv models` lists all)".to_owned()),
        TorchError::Unrecognized(message) if message.contains("name the architecture") => {
            Some("; see --arch and `dyconv models`".to_owned())
        }
        TorchError::Model(error) => model(error),
        _ => None,
    }
}

fn onnx(error: &OnnxError) -> Option<String> {
    match error {
        OnnxError::Unsupported(message) if message.contains("height or width free") => {
            Some("; see --image-size".to_owned())
        }
        OnnxError::Options(message) if message.contains("needs a batch of 1") => {
            Some("; --form portable takes any".to_owned())
        }
        _ => None,
    }
}

fn model(error: &ModelError) -> Option<String> {
    match error {
        ModelError::Unknown { .. } => Some(" (`dyconv models` lists all)".to_owned()),
        ModelError::Option { option: "layer_kernels", message } if message.contains("matches no") => {
            Some("; `dyconv cost NAME --layers` shows the names".to_owned())
        }
        _ => None,
    }
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use super::*;
    use crate::chain;

    #[test]
    fn advice_follows_the_words_of_the_library() {
        let exists = || TrainError::Exists("my runs/a".into());
        let words = "my runs/a: holds a run already; go on with it: --resume 'my runs/a'; replace it: --force";
        assert_eq!(chain(&exists().into()), words);
        assert_eq!(chain(&InspectError::Train(exists()).into()), words);
        assert_eq!(chain(&anyhow::Error::from(exists()).context("train")), format!("train: {words}"));
        let error = |kept| TrainError::Write { path: "a".into(), cause: std::io::Error::other("full"), kept };
        assert_eq!(chain(&error(None).into()), "a: cannot be written: full");
        let kept = Kept { checkpoint: Some(7), resume: "-r".into() };
        let words = "a: cannot be written: full. The checkpoint of iteration 7 is whole; once there is room, go on with: dyconv \
                     train --resume ./-r";
        assert_eq!(chain(&error(Some(kept)).into()), words);
    }

    #[test]
    fn advice_on_imports_and_exports_names_flags() {
        let says = |error: ConvertError, expected: &str| assert_eq!(chain(&error.into()), expected);
        says(
            ConvertError::NoSkeleton { name: "net.onnx".into(), maps: 4 },
            "net.onnx: the network answers with 4 heat maps and does not say of what; name the keypoints with --skeleton FILE",
        );
        says(
            ConvertError::ClassesOfKeypoints,
            "class names are for classifiers, and the answer of this network is heat maps; leave --classes out",
        );
        says(
            ConvertError::NoArchitecture,
            "the model does not name its architecture, so that its tensors have no names in PyTorch; --onnx writes any network",
        );
        // What the libraries below say gets their advice.
        says(
            ConvertError::Onnx {
                name: "net.onnx".into(),
                error: OnnxError::Options("the exact form needs a batch of 1, got a free batch".into()),
            },
            "net.onnx: cannot be written as ONNX: the exact form needs a batch of 1, got a free batch; --form portable takes any",
        );
        says(
            ConvertError::Open(TorchError::Architecture { name: "resnt18".into(), suggestion: "resnet18".into() }),
            "unknown architecture `resnt18`; did you mean `resnet18`? (`dyconv models` lists all)",
        );
    }
}
