//! Checkpoints: everything needed to resume a run, in one file.
//!
//! A checkpoint is a safetensors file: tensors in sections (`model.*`, `optimizer.*`, …), and a [`State`] as JSON in
//! the header. It is written to a temporary file and renamed; the newest two are kept. A checksum over state and
//! tensors detects a damaged file; the checkpoint before it is used then.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dyconv_file::write_atomically;
use dyconv_graph::Tensor;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

const STATE: &str = "dyconv_checkpoint";
const CHECKSUM: &str = "crc32c";
const EXTENSION: &str = "safetensors";
/// Number of checkpoints that are kept.
const KEPT: usize = 2;
const VERSION: u32 = 1;

/// Named tensors of one part of a run.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Everything except the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    /// Number of completed epochs.
    pub epoch: usize,
    /// Number of completed batches of the current epoch.
    pub batch: usize,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Length of the metrics file in bytes.
    pub journal: u64,
    /// The recipe, as TOML.
    pub recipe: String,
}

/// The epoch whose network is in the model file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch, one-based.
    pub epoch: usize,
    /// Its accuracy or average precision on the validation part; `None` if there is none.
    #[serde(alias = "accuracy")]
    pub score: Option<f64>,
}

/// A state with its tensors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    pub state: State,
    tensors: Tensors,
}

impl State {
    /// The state before the first step.
    pub fn first(recipe: String) -> Self {
        Self { version: VERSION, epoch: 0, batch: 0, best: None, journal: 0, recipe }
    }
}

impl Checkpoint {
    pub fn new(state: State) -> Self {
        Self { state, tensors: Tensors::new() }
    }

    /// Adds the tensors of a section.
    #[must_use]
    pub fn with(mut self, section: &str, tensors: Tensors) -> Self {
        self.tensors.extend(tensors.into_iter().map(|(name, tensor)| (format!("{section}.{name}"), tensor)));
        self
    }

    /// Takes out the tensors of a section.
    pub fn take(&mut self, section: &str) -> Tensors {
        let prefix = format!("{section}.");
        let names: Vec<String> = self.tensors.keys().filter(|k| k.starts_with(&prefix)).cloned().collect();
        names.into_iter().filter_map(|n| Some((n[prefix.len()..].to_owned(), self.tensors.remove(&n)?))).collect()
    }

    /// Writes the checkpoint to `folder`, then removes all but the newest two.
    ///
    /// # Errors
    /// I/O errors; the existing checkpoints are then intact.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let path = folder.join(format!("epoch-{:07}-batch-{:08}.{EXTENSION}", self.state.epoch, self.state.batch));
        write_atomically(&path, &self.to_bytes())?;
        prune(folder)?;
        Ok(path)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let state = serde_json::to_string(&self.state).expect("plain values");
        let bytes: Vec<(&String, &Tensor, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, t)| (name, t, t.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let sum = checksum(&state, bytes.iter().map(|(name, t, data)| (name.as_str(), t.shape.as_slice(), &data[..])));
        let views = bytes.iter().map(|(name, t, data)| {
            (*name, TensorView::new(Dtype::F32, t.shape.clone(), data).expect("as many bytes as the shape says"))
        });
        let metadata = HashMap::from([(STATE.to_owned(), state), (CHECKSUM.to_owned(), sum.to_string())]);
        safetensors::serialize(views, Some(metadata)).expect("named tensors")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let container = |e: safetensors::SafeTensorError| format!("is cut short or damaged ({e})");
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
        let get = |key: &str| metadata.metadata().as_ref().and_then(|m| m.get(key)).ok_or("is no checkpoint");
        let text = get(STATE)?;
        let file = SafeTensors::deserialize(bytes).map_err(container)?;
        let mut views = file.tensors();
        views.sort_by(|a, b| a.0.cmp(&b.0));
        let sum = checksum(text, views.iter().map(|(name, view)| (name.as_str(), view.shape(), view.data())));
        if *get(CHECKSUM)? != sum.to_string() {
            return Err("is damaged: its checksum is wrong".into());
        }
        let state: State = serde_json::from_str(text).map_err(|e| format!("has a state that cannot be read: {e}"))?;
        if state.version != VERSION {
            return Err(format!("is of version {}, this program reads version {VERSION}", state.version));
        }
        let tensors = views.into_iter().map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                return Err(format!("stores `{name}` as {:?}, expected F32", view.dtype()));
            }
            let data = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Ok((name, Tensor::new(view.shape(), data)))
        });
        Ok(Self { state, tensors: tensors.collect::<Result<_, _>>()? })
    }

    /// The newest intact checkpoint that `usable` accepts, or `None` if there never was one. Reports which checkpoints
    /// were skipped, and removes them.
    ///
    /// # Errors
    /// If there are checkpoints, but none is intact.
    pub fn newest(
        folder: &Path,
        usable: impl Fn(&State) -> Result<(), String>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Self>, TrainError> {
        let mut passed: Vec<(PathBuf, String)> = Vec::new();
        for path in newest_first(folder).map_err(|e| TrainError::read(folder, e))? {
            let bytes = fs::read(&path).map_err(|e| format!("cannot be read ({e})"));
            let read = bytes.and_then(|b| Self::from_bytes(&b)).and_then(|c| usable(&c.state).map(|()| c));
            match read {
                Ok(checkpoint) => {
                    for (damaged, reason) in passed {
                        warn(format!("{} {reason}; resuming from {}", damaged.display(), path.display()));
                        fs::remove_file(&damaged).map_err(|e| TrainError::write(&damaged, e))?;
                    }
                    // The process may have been killed after writing a checkpoint and before removing the oldest.
                    prune(folder).map_err(|e| TrainError::write(folder, e))?;
                    return Ok(Some(checkpoint));
                }
                Err(reason) => passed.push((path, reason)),
            }
        }
        match passed.into_iter().next() {
            None => Ok(None),
            Some((path, reason)) => Err(TrainError::NoCheckpoint { path, reason }),
        }
    }
}

/// Removes all checkpoints but the newest two.
fn prune(folder: &Path) -> io::Result<()> {
    newest_first(folder)?.into_iter().skip(KEPT).try_for_each(fs::remove_file)
}

/// The checkpoints in a folder.
fn newest_first(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| is_checkpoint(&name.to_string_lossy())) {
            paths.push(path);
        }
    }
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

/// Whether a file of this name was written by [`Checkpoint::write`].
pub(crate) fn is_checkpoint(name: &str) -> bool {
    let digits = |text: &str, least: usize| text.len() >= least && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = name.strip_prefix("epoch-").and_then(|rest| rest.strip_suffix(EXTENSION)?.strip_suffix('.'));
    let numbers = numbers.and_then(|rest| rest.split_once("-batch-"));
    numbers.is_some_and(|(epoch, batch)| digits(epoch, 7) && digits(batch, 8))
}

fn checksum<'a>(state: &str, tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>) -> u32 {
    tensors.fold(crc32c::crc32c(state.as_bytes()), |sum, (name, shape, data)| {
        crc32c::crc32c_append(crc32c::crc32c_append(sum, format!("{name} {shape:?}\n").as_bytes()), data)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(epoch: usize, batch: usize) -> Checkpoint {
        let state = State {
            epoch,
            batch,
            best: Some(Best { epoch: 1, score: Some(0.1 + 0.2) }),
            ..State::first("a = 1".into())
        };
        let tensor = Tensor::new(&[2, 2], vec![0.1, -2.0, f32::MIN_POSITIVE, batch as f32]);
        let section = |name: &str| Tensors::from([(name.to_owned(), tensor.clone())]);
        Checkpoint::new(state).with("model", section("a.weight")).with("optimizer", section("a.weight.velocity"))
    }

    fn newest(folder: &Path) -> (Result<Option<Checkpoint>, TrainError>, Vec<String>) {
        let mut said = Vec::new();
        let found = Checkpoint::newest(folder, |_| Ok(()), &mut |w| said.push(w));
        (found, said)
    }

    #[test]
    fn what_is_written_is_read_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(newest(dir.path()).0.unwrap().is_none());
        for (epoch, batch) in [(0, 0), (0, 9), (0, 10), (1, 0)] {
            checkpoint(epoch, batch).write(dir.path()).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // Files of another program, which are neither read nor removed.
        let foreign = ["epoch-final.safetensors", "epoch-12-batch-3.safetensors", "epoch-0000001-batch-00000000.bak"];
        foreign.iter().for_each(|name| fs::write(dir.path().join(name), "mine").unwrap());
        // The state after a kill between writing and removing.
        fs::write(dir.path().join("epoch-0000000-batch-00000009.safetensors"), "old").unwrap();
        let mut read = newest(dir.path()).0.unwrap().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2 + foreign.len());
        assert_eq!(read, checkpoint(1, 0));
        assert_eq!(read.take("optimizer").keys().collect::<Vec<_>>(), ["a.weight.velocity"]);
        assert_eq!(read.take("model")["a.weight"].data[0], 0.1);
        assert!(read.take("ema").is_empty());
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over_with_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let whole = checkpoint(0, 3).write(dir.path()).unwrap();
        let path = checkpoint(0, 7).write(dir.path()).unwrap();
        let bytes = fs::read(&path).unwrap();
        for cut in [0, 7, 100, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            let (found, said) = newest(dir.path());
            assert_eq!(found.unwrap().unwrap(), checkpoint(0, 3));
            assert!(said.len() == 1 && said[0].contains("batch-00000007") && said[0].contains("resuming"), "{said:?}");
            assert!(!path.exists());
        }
        // A flipped bit anywhere except in the padding of the header.
        for at in (8..bytes.len()).step_by(7).filter(|at| bytes[*at] != b' ') {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            fs::write(&path, &bad).unwrap();
            assert_eq!(newest(dir.path()).0.unwrap().unwrap(), checkpoint(0, 3), "byte {at}");
        }
        // A checkpoint that cannot be read: a symlink to itself.
        #[cfg(unix)]
        {
            fs::remove_file(&path).unwrap_or_default();
            std::os::unix::fs::symlink(&path, &path).unwrap();
            let (found, said) = newest(dir.path());
            assert_eq!(found.unwrap().unwrap(), checkpoint(0, 3));
            assert!(said.len() == 1 && said[0].contains("cannot be read") && said[0].contains("resuming"), "{said:?}");
        }
        fs::write(&whole, "nothing").unwrap();
        let error = newest(dir.path()).0.unwrap_err().to_string();
        assert!(error.contains("batch-00000003") && error.contains("no whole checkpoint"), "{error}");
    }
}
