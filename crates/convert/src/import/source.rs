//! What kind of source a name or path is, and the network in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use dyconv_file::{Model, Provenance, folder_of};
use dyconv_graph::{Graph, Weights};
use dyconv_onnx::ReadOptions;
use dyconv_task::{Preprocessing, Task};
use dyconv_torch as torch;

use super::check::Onnx;
use super::metadata;
use super::options::{ImportOptions, Pair};
use super::preprocessing::usual;
use super::report::Findings;
use crate::error::{ConvertError, SourceProblem};
use crate::files;

/// Begins the name of a folder in the local cache of the Hugging Face hub.
const HUB: &str = "hub:";
/// Bytes that decide what a file is.
const HEAD: u64 = 512;

/// A network as its source has it.
pub struct Found {
    /// What the source is, for the report.
    pub kind: &'static str,
    pub graph: Graph,
    pub weights: Weights,
    /// Temperature of the routers, if the source says it.
    pub tau: Option<f32>,
    /// What the source says about the outputs.
    pub task: Option<Task>,
    pub classes: Option<Vec<String>>,
    pub preprocessing: Option<Preprocessing>,
    pub architecture: String,
    /// Whose names the tensors have.
    pub dialect: Option<String>,
    pub provenance: Option<Provenance>,
    pub findings: Findings,
    pub onnx: Option<Onnx>,
}

/// Reads the source of an import; where nothing else says the size of the images, it is that of the arrays to compare with.
pub fn read(source: &Path, options: &ImportOptions) -> Result<Found, ConvertError> {
    if source.exists() && !source.is_file() && !source.is_dir() {
        let name = source.display().to_string();
        return Err(ConvertError::Source { name, problem: SourceProblem::NotAFile });
    }
    if is_hub(source) || !source.is_file() || !is_onnx(source)? {
        return read_torch(source, options);
    }
    let found = read_onnx(source, options)?;
    let [_, h, w] = found.graph.input_dims();
    match options.image_size {
        Some(size) if size != [h, w] => resized(found, size),
        _ => Ok(found),
    }
}

fn is_hub(source: &Path) -> bool {
    source.to_str().is_some_and(|source| source.starts_with(HUB))
}

fn read_torch(path: &Path, options: &ImportOptions) -> Result<Found, ConvertError> {
    let name = path.to_str().ok_or_else(|| ConvertError::NotUtf8(path.to_owned()))?;
    let torch::Source { dict, preprocessing, classes, architecture } = torch::open(name).map_err(ConvertError::Open)?;
    let arch = options.arch.as_deref().or(architecture.as_deref());
    let size = options.image_size.or(preprocessing.as_ref().map(|p| p.image_size));
    let size = size.or_else(|| options.check.as_ref().and_then(Pair::image_size));
    let imported =
        torch::import_at(&dict, arch, size).map_err(|error| ConvertError::Torch { name: name.to_owned(), error })?;
    let is_hub = is_hub(path) || path.is_dir();
    Ok(Found {
        kind: if is_hub { "hub folder" } else { "state dict" },
        findings: Findings::from(&imported.report),
        graph: imported.graph,
        weights: imported.weights,
        tau: imported.tau,
        task: None,
        classes,
        preprocessing,
        architecture: imported.arch,
        dialect: Some(imported.dialect.to_string()),
        provenance: None,
        onnx: None,
    })
}

fn read_onnx(path: &Path, options: &ImportOptions) -> Result<Found, ConvertError> {
    let name = path.display().to_string();
    if options.arch.is_some() {
        return Err(ConvertError::ArchOfOnnx { name });
    }
    let folder = folder_of(path);
    let imported = {
        let bytes = files::read(path)?;
        let options = ReadOptions { image_size: options.image_size };
        dyconv_onnx::read_with(&bytes, Some(folder), &options).map_err(|error| ConvertError::Onnx { name, error })?
    };
    let mut findings = Findings::of_onnx(&imported.report, &imported.weights);
    let told = metadata::read(&imported.metadata, imported.graph.input_dims());
    findings.notes.extend(told.notes);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let [channels, height, width] = imported.graph.input_dims();
    // Then normalization is part of the network: it takes the pixels as they are.
    let pixels = Preprocessing {
        mean: vec![0.0; channels],
        std: vec![1.0 / 255.0; channels],
        ..told.preprocessing.clone().unwrap_or_else(|| usual(channels, [height, width]))
    };
    let preprocessing = if imported.report.bytes { Some(pixels) } else { told.preprocessing };
    let known = told.provenance.as_ref().map(|p| p.model.clone()).filter(|name| !name.is_empty());
    Ok(Found {
        kind: "ONNX",
        graph: imported.graph,
        weights: imported.weights,
        tau: Some(imported.tau),
        task: told.task,
        classes: told.classes,
        preprocessing,
        architecture: known.unwrap_or(stem),
        dialect: None,
        provenance: told.provenance,
        findings,
        onnx: Some(Onnx { folder: folder.to_owned(), ending: imported.report.ending }),
    })
}

/// The network for inputs of another height and width. Weights do not depend on them, unless a map is flattened.
fn resized(found: Found, size: [usize; 2]) -> Result<Found, ConvertError> {
    let [c, h, w] = found.graph.input_dims();
    let graph = found.graph.rebuilt([c, size[0], size[1]], |_, op| op.clone());
    let graph = graph.map_err(|e| ConvertError::ImageSize { size, message: e.to_string() })?;
    let fits = found.weights.check(&graph);
    let made_for = |e| ConvertError::ImageSize { size, message: format!("it is made for {h} × {w} pixels: {e}") };
    fits.map_err(made_for)?;
    Ok(Found { graph, ..found })
}

/// Whether a file is an ONNX file, by its first bytes; its name decides only for what could be anything.
fn is_onnx(path: &Path) -> Result<bool, ConvertError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(|source| ConvertError::Io { path: path.to_owned(), what: "read", source })?;
    let problem = if head.starts_with(b"version https://git-lfs") {
        Some(SourceProblem::GitLfs)
    } else if head.is_empty() {
        Some(SourceProblem::Empty)
    } else if is_safetensors(&head) && Model::open(path).is_ok() {
        Some(SourceProblem::Model)
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(ConvertError::Source { name: path.display().to_string(), problem });
    }
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    Ok(looks_like_onnx(&head, named))
}

fn is_safetensors(head: &[u8]) -> bool {
    head.get(8) == Some(&b'{')
}

/// PyTorch's files begin with a zip's or pickle's magic or are tar archives; safetensors have a brace after the length.
/// ONNX begins with the key of a field, which is the version of the format in all files seen.
fn looks_like_onnx(head: &[u8], named: bool) -> bool {
    let is_pickle = head.first() == Some(&0x80) && head.get(1).is_some_and(|version| *version <= 5);
    let is_torch = head.starts_with(b"PK") || is_pickle || head.get(257..262) == Some(b"ustar");
    let fields_of_a_model =
        head.first().is_some_and(|key| matches!(key, 0x08 | 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a));
    !is_torch && !is_safetensors(head) && (named || fields_of_a_model)
}

#[cfg(test)]
mod tests {
    use super::looks_like_onnx;

    #[test]
    fn content_decides_before_the_name() {
        assert!(looks_like_onnx(b"\x08\x08\x12\x07pytorch", false));
        assert!(looks_like_onnx(b"anything", true));
        assert!(!looks_like_onnx(b"anything", false));
        for head in [&b"PK\x03\x04rest"[..], b"\x80\x02\x8a\x0al", b"\x08\0\0\0\0\0\0\0{}"] {
            assert!(!looks_like_onnx(head, true), "{head:?}");
        }
        let mut tar = vec![0x61; 300];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(!looks_like_onnx(&tar, true));
    }
}
