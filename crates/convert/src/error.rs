//! The error of this crate.

use std::path::PathBuf;

use dyconv_engine::EngineError;
use dyconv_graph::{GraphError, short_name};
use dyconv_onnx::OnnxError;
use dyconv_torch::TorchError;

use crate::answers::Difference;
use crate::import::{ImportCheck, ImportReport};

/// Why a network could not be imported or exported. The message holds those of its causes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file that cannot be read or written.
    #[error("{}: cannot be {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        what: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file that needs more memory than there is.
    #[error("{}: reading it needs {} of memory, {} are available", path.display(), gibibytes(*bytes), gibibytes(*available))]
    Memory {
        /// The file.
        path: PathBuf,
        /// Required number of bytes.
        bytes: u64,
        /// Available number of bytes.
        available: u64,
    },
    /// A file that is no source of an import, by its first bytes.
    #[error("{name}: {problem}")]
    Source {
        /// The file.
        name: String,
        /// What it is instead.
        problem: SourceProblem,
    },
    /// A path that must be text, and is not.
    #[error("{}: the path is no text in UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// State dict or hub folder: it cannot be read.
    #[error("{0}")]
    Open(#[source] TorchError),
    /// State dict or hub folder: its network is not recognized, does not fit, or cannot be written.
    #[error("{name}: {error}")]
    Torch {
        /// The source, or what is written.
        name: String,
        /// What is wrong; of [`TorchError::Mismatch`], [`Findings`](crate::Findings) can be made.
        #[source]
        error: TorchError,
    },
    /// An ONNX file, or a tensor in ONNX's form, that cannot be read or written.
    #[error("{name}: {error}")]
    Onnx {
        /// The file.
        name: String,
        /// What is wrong.
        #[source]
        error: OnnxError,
    },
    /// [`arch`](crate::ImportOptions::arch) for an ONNX file.
    #[error("{name}: naming an architecture means nothing for an ONNX file, which describes its network itself")]
    ArchOfOnnx {
        /// The file.
        name: String,
    },
    /// The network cannot have an input of this height and width.
    #[error("the network cannot take {} × {} pixels: {message}", size[0], size[1])]
    ImageSize {
        /// Height and width in pixels.
        size: [usize; 2],
        /// Why.
        message: String,
    },
    /// [`tau`](crate::ImportOptions::tau) is no temperature.
    #[error("the temperature must be a positive finite number, got {0}")]
    Temperature(f32),
    /// [`classes`](crate::ImportOptions::classes) of another number than outputs.
    #[error("{named} classes are named, but the network has {outputs} outputs")]
    Classes {
        /// Number of names.
        named: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// The source has class names of another number than outputs.
    #[error("{name}: names {named} classes, but the network has {outputs} outputs")]
    SourceClasses {
        /// The source.
        name: String,
        /// Number of names.
        named: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// [`classes`](crate::ImportOptions::classes) for a keypoint network.
    #[error("class names are for classifiers, and the answer of this network is heat maps")]
    ClassesOfKeypoints,
    /// [`skeleton`](crate::ImportOptions::skeleton) for a classifier.
    #[error("a skeleton is for keypoint networks, and this one is a classifier")]
    SkeletonOfClassifier,
    /// Nothing says what the heat maps are of.
    #[error("{name}: the network answers with {maps} heat maps and does not say of what")]
    NoSkeleton {
        /// The source.
        name: String,
        /// Number of heat maps.
        maps: usize,
    },
    /// [`skeleton`](crate::ImportOptions::skeleton) that contradicts itself.
    #[error("skeleton: {0}")]
    Skeleton(String),
    /// A skeleton of another number of joints than heat maps.
    #[error("the skeleton has {joints} joints, but the network answers with {maps} heat maps")]
    Joints {
        /// Number of joints.
        joints: usize,
        /// Number of heat maps.
        maps: usize,
    },
    /// A key of [`preprocessing`](crate::ImportOptions::preprocessing) that the network decides: `channels` or `image_size`.
    #[error("preprocessing.{0}: the network decides it")]
    PreprocessingOfNetwork(&'static str),
    /// A key of [`preprocessing`](crate::ImportOptions::preprocessing) that does not exist or has an impossible value.
    #[error("preprocessing.{}: {message}", short_name(key))]
    PreprocessingKey {
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The preprocessing as a whole does not fit the network.
    #[error("preprocessing: {0}")]
    Preprocessing(String),
    /// An array to compare with that does not fit the network.
    #[error("{name}: {message}")]
    Array {
        /// Its name.
        name: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The imported network answers differently than the original. The report has all that was found, also the
    /// [`check`](ImportReport::check).
    #[error("the imported network does not answer as the original{}", differs(.0))]
    Differs(Box<ImportReport>),
    /// A form for a network without dynamic layers.
    #[error("form {0}: the network is static, and static networks have one form")]
    StaticForm(&'static str),
    /// A number of samples per run that no file is written for.
    #[error("a batch must be of 1 to 65536 samples, got {0}")]
    Batch(usize),
    /// The mean attention is not K finite values for each dynamic layer.
    #[error("mean attention of layer `{}`: {message}", short_name(layer))]
    Attention {
        /// The layer.
        layer: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The path of a file to write ends in no name.
    #[error("{}: names no file", .0.display())]
    NoFileName(PathBuf),
    /// A hub folder is written only where there is nothing.
    #[error("{} exists already and is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A state dict is written only for a known architecture, which decides the names of the tensors.
    #[error("the model does not name its architecture, so that its tensors have no names in PyTorch")]
    NoArchitecture,
    /// What was written cannot be read.
    #[error("{name}: what was written cannot be read back, which is a fault of dyconv: {message}")]
    ReadBack {
        /// What was to be written.
        name: String,
        /// The error of reading it.
        message: String,
    },
    /// What was written is another network than the model.
    #[error("what was written, read back, does not answer as the model: {difference} ({} is allowed)", allowed(*bound))]
    NotTheSame {
        /// How far the answers are from those of the model.
        difference: Difference,
        /// Largest relative difference that is allowed.
        bound: f64,
    },
    /// Layers cannot become dynamic, or attention cannot become constant.
    #[error("{0}")]
    Graph(#[from] GraphError),
    /// A network cannot be run.
    #[error("{0}")]
    Engine(#[from] EngineError),
}

/// What a file is that is no source of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceProblem {
    /// What Git LFS leaves where the file was not fetched.
    #[error("is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`")]
    GitLfs,
    /// An empty file.
    #[error("is empty")]
    Empty,
    /// A pipe or a device.
    #[error("is a pipe or a device, expected a file or a folder")]
    NotAFile,
    /// A model file.
    #[error("is a model file of dyconv already; it can be used as it is")]
    Model,
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn differs(report: &ImportReport) -> String {
    report.check.as_ref().map_or(String::new(), |check| {
        format!(": {} from {} (at most {:.0e} is allowed)", check.difference, check.expected, ImportCheck::BOUND)
    })
}

fn allowed(bound: f64) -> String {
    if bound > 0.0 { format!("at most {bound:.0e}") } else { "none".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of a variant among all; a new one does not compile without a place, and without a sample.
    fn place(error: &ConvertError) -> usize {
        match error {
            ConvertError::Io { .. } => 0,
            ConvertError::Memory { .. } => 1,
            ConvertError::Source { .. } => 2,
            ConvertError::NotUtf8(_) => 3,
            ConvertError::Open(_) => 4,
            ConvertError::Torch { .. } => 5,
            ConvertError::Onnx { .. } => 6,
            ConvertError::ArchOfOnnx { .. } => 7,
            ConvertError::ImageSize { .. } => 8,
            ConvertError::Temperature(_) => 9,
            ConvertError::Classes { .. } => 10,
            ConvertError::SourceClasses { .. } => 11,
            ConvertError::ClassesOfKeypoints => 12,
            ConvertError::SkeletonOfClassifier => 13,
            ConvertError::NoSkeleton { .. } => 14,
            ConvertError::Skeleton(_) => 15,
            ConvertError::Joints { .. } => 16,
            ConvertError::PreprocessingOfNetwork(_) => 17,
            ConvertError::PreprocessingKey { .. } => 18,
            ConvertError::Preprocessing(_) => 19,
            ConvertError::Array { .. } => 20,
            ConvertError::Differs(_) => 21,
            ConvertError::StaticForm(_) => 22,
            ConvertError::Batch(_) => 23,
            ConvertError::Attention { .. } => 24,
            ConvertError::NoFileName(_) => 25,
            ConvertError::NotEmpty(_) => 26,
            ConvertError::NoArchitecture => 27,
            ConvertError::ReadBack { .. } => 28,
            ConvertError::NotTheSame { .. } => 29,
            ConvertError::Graph(_) => 30,
            ConvertError::Engine(_) => 31,
        }
    }

    fn samples() -> Vec<ConvertError> {
        let (name, message) = (|| "net.pth".to_owned(), || "is wrong".to_owned());
        let difference = Difference { rows: 2, largest_relative_difference: 0.5, top1_agrees: Some(1) };
        let report = ImportReport {
            source: name(),
            kind: "ONNX",
            check: Some(ImportCheck { expected: "y.npy".into(), difference }),
            architecture: name(),
            dialect: None,
            input: [3, 8, 8],
            output: vec![2],
            tau: 1.0,
            params: 1,
            madds: 1,
            dynamic_layers: 0,
            to_dynamic: None,
            tensors: crate::Findings::default(),
        };
        vec![
            ConvertError::Io { path: name().into(), what: "read", source: std::io::Error::other("full") },
            ConvertError::Memory { path: name().into(), bytes: 1 << 40, available: 1 << 30 },
            ConvertError::Source { name: name(), problem: SourceProblem::GitLfs },
            ConvertError::Source { name: name(), problem: SourceProblem::Empty },
            ConvertError::Source { name: name(), problem: SourceProblem::NotAFile },
            ConvertError::Source { name: name(), problem: SourceProblem::Model },
            ConvertError::NotUtf8(name().into()),
            ConvertError::Open(TorchError::Source(message())),
            ConvertError::Torch { name: name(), error: TorchError::Classes { named: 2, outputs: 3 } },
            ConvertError::Onnx { name: name(), error: OnnxError::Invalid(message()) },
            ConvertError::ArchOfOnnx { name: name() },
            ConvertError::ImageSize { size: [8, 9], message: message() },
            ConvertError::Temperature(-1.0),
            ConvertError::Classes { named: 2, outputs: 3 },
            ConvertError::SourceClasses { name: name(), named: 2, outputs: 3 },
            ConvertError::ClassesOfKeypoints,
            ConvertError::SkeletonOfClassifier,
            ConvertError::NoSkeleton { name: name(), maps: 4 },
            ConvertError::Skeleton(message()),
            ConvertError::Joints { joints: 3, maps: 4 },
            ConvertError::PreprocessingOfNetwork("channels"),
            ConvertError::PreprocessingKey { key: "crop".into(), message: message() },
            ConvertError::Preprocessing(message()),
            ConvertError::Array { name: name(), message: message() },
            ConvertError::Differs(Box::new(report)),
            ConvertError::StaticForm("exact"),
            ConvertError::Batch(0),
            ConvertError::Attention { layer: "body".into(), message: message() },
            ConvertError::NoFileName("..".into()),
            ConvertError::NotEmpty(name().into()),
            ConvertError::NoArchitecture,
            ConvertError::ReadBack { name: name(), message: message() },
            ConvertError::NotTheSame { difference, bound: 1e-4 },
            ConvertError::NotTheSame { difference, bound: 0.0 },
            ConvertError::Graph(GraphError::new("body", message())),
            ConvertError::Engine(EngineError::Temperature(0.0)),
        ]
    }

    #[test]
    fn every_message_is_whole_and_names_no_flag() {
        let samples = samples();
        let places: std::collections::BTreeSet<usize> = samples.iter().map(place).collect();
        assert!(places.iter().copied().eq(0..32), "{places:?}");
        for error in samples {
            let text = error.to_string();
            assert!(!text.contains("--") && !text.is_empty(), "{text}");
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                assert!(text.contains(&inner.to_string()), "`{text}` leaves out `{inner}`");
                cause = inner.source();
            }
        }
    }

    #[test]
    fn a_difference_is_told_with_its_bound() {
        let texts: Vec<String> = samples().iter().map(ToString::to_string).collect();
        for expected in [
            "the imported network does not answer as the original: largest relative difference 5.0e-1 over 2 inputs, top-1 agrees in \
             1 of 2 from y.npy (at most 1e-3 is allowed)",
            "what was written, read back, does not answer as the model: largest relative difference 5.0e-1 over 2 inputs, top-1 \
             agrees in 1 of 2 (none is allowed)",
            "net.pth: reading it needs 1024.0 GiB of memory, 1.0 GiB are available",
        ] {
            assert!(texts.iter().any(|text| text == expected), "{texts:#?}");
        }
    }
}
