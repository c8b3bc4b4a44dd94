//! What kind of source a name or path is, and the network in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use dyconv_file::{Model, Provenance};
use dyconv_graph::{Graph, Weights};
use dyconv_onnx::ReadOptions;
use dyconv_task::{Preprocessing, Task};
use dyconv_torch as torch;

use super::args::Args;
use super::check::{Onnx, Pair};
use super::metadata;
use super::preprocessing::usual;
use super::report::Findings;
use crate::bank::refuse;
use crate::output::print;

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

/// Reads the source of an import; where nothing else says the size of the images, it is that of the `given` ones.
pub fn read(args: &Args, given: Option<&Pair>) -> anyhow::Result<Found> {
    let path = Path::new(&args.source);
    if args.source.starts_with(HUB) || !path.is_file() || !is_onnx(path)? {
        return read_torch(args, given);
    }
    let found = read_onnx(args, path)?;
    let [_, h, w] = found.graph.input_dims();
    match args.image_size {
        Some(size) if size != [h, w] => resized(found, size),
        _ => Ok(found),
    }
}

fn read_torch(args: &Args, given: Option<&Pair>) -> anyhow::Result<Found> {
    let torch::Source { dict, preprocessing, classes, architecture } = torch::open(&args.source)?;
    let named = args.arch.as_deref().or(architecture.as_deref());
    let size = args.image_size.or(preprocessing.as_ref().map(|p| p.image_size));
    let size = size.or_else(|| given.and_then(Pair::image_size));
    let imported = torch::import_at(&dict, named, size).map_err(|error| {
        if let torch::TorchError::Mismatch(report) = &error {
            // The error counts what does not fit; the table lists it.
            if let (false, Err(error)) = (args.json, print(&Findings::of_torch(report).table())) {
                return error;
            }
        }
        anyhow::Error::new(error).context(args.source.clone())
    })?;
    let is_hub = args.source.starts_with(HUB) || Path::new(&args.source).is_dir();
    Ok(Found {
        kind: if is_hub { "hub folder" } else { "state dict" },
        findings: Findings::of_torch(&imported.report),
        graph: imported.graph,
        weights: imported.weights,
        tau: None,
        task: None,
        classes,
        preprocessing,
        architecture: imported.arch,
        dialect: Some(imported.dialect.to_string()),
        provenance: None,
        onnx: None,
    })
}

fn read_onnx(args: &Args, path: &Path) -> anyhow::Result<Found> {
    refuse(&[("--arch", args.arch.is_some())], "an ONNX file, which describes its network itself")?;
    let about = path.metadata().with_context(|| format!("{}: cannot be read", args.source))?;
    // The file, and its tensors in addition.
    crate::memory::check(2 * about.len(), || format!("{}: reading it", args.source))?;
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", args.source))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let options = ReadOptions { image_size: args.image_size };
    let imported = dyconv_onnx::read_with(&bytes, Some(folder), &options)
        .map_err(|error| anyhow::Error::new(error).context(args.source.clone()))?;
    drop(bytes);
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
fn resized(found: Found, [height, width]: [usize; 2]) -> anyhow::Result<Found> {
    let [c, h, w] = found.graph.input_dims();
    let size = format!("{height} × {width} pixels");
    let graph = found.graph.rebuilt([c, height, width], |_, op| op.clone());
    let graph = graph.map_err(|e| anyhow!("the network cannot take {size}: {e}"))?;
    let fits = found.weights.check(&graph);
    fits.map_err(|e| anyhow!("the network is made for {h} × {w} pixels, and cannot take {size}: {e}"))?;
    Ok(Found { graph, ..found })
}

/// Whether a file is an ONNX file, by its first bytes; its name decides only for what could be anything.
fn is_onnx(path: &Path) -> anyhow::Result<bool> {
    let name = path.display();
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.with_context(|| format!("{name}: cannot be read"))?;
    if head.starts_with(b"version https://git-lfs") {
        bail!("{name}: is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`");
    }
    ensure!(!head.is_empty(), "{name}: is empty");
    if is_safetensors(&head) && Model::open(path).is_ok() {
        bail!("{name}: is a model file of dyconv already; it can be used as it is");
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
