//! What libFuzzer gives bytes to: one function a target, each of which must neither panic nor give a wrong answer.

mod compare;
mod data;
mod foreign;
mod generate;
#[path = "../../crates/cli/src/memory.rs"]
#[allow(dead_code, reason = "files are not read here")]
mod memory;
mod mutate;
mod network;
#[path = "../../crates/cli/src/npy.rs"]
#[allow(dead_code, reason = "the file also reads and writes files")]
mod npy_file;
mod seeds;

pub use data::{coco, image, packed, tar};
pub use foreign::{onnx, state_dict};
pub use mutate::mutate_onnx;
pub use network::{graph, model, network, sessions};

use std::path::Path;

/// Before the first input. libFuzzer ends the process at any panic; one of a picture decoder is caught by the library and no
/// finding.
pub fn init() {
    seeds::write_seeds();
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !dyconv::data::in_decoder() {
            abort(panic);
        }
    }));
}

/// An array file, read as `dyconv run` reads it.
pub fn npy(bytes: &[u8]) {
    if let Ok((shape, values)) = npy_file::parse(bytes) {
        assert_eq!(values.len(), shape.iter().product::<usize>());
    }
}

/// Calls `f` with a folder that holds these files and nothing else.
fn with_files(files: &[(&str, &[u8])], f: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    f(folder.path());
}

/// What stands before the first `mark`, and what stands behind it.
fn cut<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|w| w == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}
