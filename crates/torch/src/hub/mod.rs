//! Sources with more than weights: hub folders, and the local cache of the Hugging Face hub. Nothing is downloaded.

mod cache;
mod config;
mod write;

use std::path::{Path, PathBuf};

use dyconv_file::folder_of;
use dyconv_task::Preprocessing;

use crate::error::{FileProblem, TorchError};
use crate::import::{Imported, import_at};
use crate::read::read_state_dict;
use crate::state_dict::StateDict;

pub use write::write_hub;

/// Weights, and what lay beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The weights.
    pub dict: StateDict,
    /// How images are turned into the network's input, from `config.json` or `preprocessor_config.json`.
    pub preprocessing: Option<Preprocessing>,
    /// Class names in the order of the logits.
    pub classes: Option<Vec<String>>,
    /// The name of the architecture in `config.json`.
    pub architecture: Option<String>,
}

/// Names of the weights in a folder, in the order in which timm looks for them.
const WEIGHTS: [&str; 6] = [
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
];

/// Endings of other names, in the same order.
const ENDINGS: [&str; 5] = [".safetensors", ".pth", ".pth.tar", ".pt", ".bin"];

/// Files beside the weights: timm's or transformers', and that of transformers' image processors.
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// Opens a file of weights (with such files beside it, if they can be used), a hub folder (`model.safetensors` or `pytorch_model.bin`, with `config.json` and
/// `preprocessor_config.json` if they are there), or `hub:owner/name`, which is looked up in the local cache of the Hugging
/// Face hub (`$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`).
///
/// # Errors
/// If there is no such thing, or one of its files cannot be used.
pub fn open(source: &str) -> Result<Source, TorchError> {
    let path = match source.strip_prefix("hub:") {
        Some(id) => cache::folder(id, &cache::root(|name| std::env::var_os(name))?)?,
        None => PathBuf::from(source),
    };
    if path.is_dir() { open_folder(&path) } else { open_file(&path) }
}

fn open_folder(folder: &Path) -> Result<Source, TorchError> {
    let mut source = Source::of(read_state_dict(&weights_in(folder)?)?);
    source.configure(folder)?;
    Ok(source)
}

/// A file of weights with what lies beside it. Of a file outside of a hub folder, `config.json` may belong to something else,
/// so that it is no error if it cannot be used.
fn open_file(path: &Path) -> Result<Source, TorchError> {
    let mut source = Source::of(read_state_dict(path)?);
    match source.configure(folder_of(path)) {
        Ok(read) => source.dict.notes.extend(read.map(|name| format!("`{name}` beside the weights was read"))),
        Err(error) => source.dict.notes.push(format!("{error}; it was left out")),
    }
    Ok(source)
}

fn present(folder: &Path, name: &str) -> Option<PathBuf> {
    Some(folder.join(name)).filter(|path| path.is_file())
}

fn weights_in(folder: &Path) -> Result<PathBuf, TorchError> {
    if let Some(path) = WEIGHTS.iter().find_map(|name| present(folder, name)) {
        return Ok(path);
    }
    let io = |source| TorchError::File { path: folder.to_owned(), kind: FileProblem::Io { what: "read", source } };
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(io)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !["training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt"].contains(&name.as_str()))
        .collect();
    names.sort();
    let name = ENDINGS.iter().find_map(|ending| names.iter().find(|name| name.ends_with(ending)));
    name.map(|name| folder.join(name)).ok_or_else(|| {
        TorchError::Source(format!(
            "{}: the folder holds no weights; expected `model.safetensors`, `pytorch_model.bin` or another .safetensors, .pth, .pt \
             or .bin file",
            folder.display()
        ))
    })
}

impl Source {
    fn of(dict: StateDict) -> Self {
        Self { dict, preprocessing: None, classes: None, architecture: None }
    }

    /// Adds what `config.json` and `preprocessor_config.json` in this folder say; returns the name of the file that said
    /// something.
    fn configure(&mut self, folder: &Path) -> Result<Option<&'static str>, TorchError> {
        let mut said = None;
        if let Some(path) = present(folder, CONFIG) {
            let config = config::read(&path)?;
            let any = config.architecture.is_some() || config.classes.is_some() || config.preprocessing.is_some();
            said = any.then_some(CONFIG);
            (self.architecture, self.classes) = (config.architecture, config.classes);
            self.preprocessing = config.preprocessing;
        }
        if self.preprocessing.is_none()
            && let Some(path) = present(folder, PREPROCESSOR)
        {
            self.preprocessing = Some(config::read_preprocessor(&path)?);
            said = said.or(Some(PREPROCESSOR));
        }
        Ok(said)
    }

    /// [`import`](crate::import) with the architecture and image size that came with the weights; `arch` and `image_size`
    /// override them.
    ///
    /// # Errors
    /// As [`import`](crate::import), and if the number of class names is not that of the network's outputs.
    pub fn import(&self, arch: Option<&str>, image_size: Option<[usize; 2]>) -> Result<Imported, TorchError> {
        let arch = arch.or(self.architecture.as_deref());
        let size = image_size.or(self.preprocessing.as_ref().map(|p| p.image_size));
        let imported = import_at(&self.dict, arch, size)?;
        let outputs = imported.graph.output_shape().channels();
        match &self.classes {
            Some(classes) if classes.len() != outputs => Err(TorchError::Classes { named: classes.len(), outputs }),
            _ => Ok(imported),
        }
    }
}
