//! Files of other programs: networks as ONNX, state dicts of PyTorch.

use std::io::Write;

use dyconv::graph::{Graph, Shape};
use dyconv::onnx::write::{WriteOptions, write};
use dyconv::onnx::{OnnxError, ReadOptions, read_with};
use dyconv::torch::{Names, export, import, read_state_dict};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{cut, with_files};

/// Height and width of images, where a file leaves them free.
const SIZE: [usize; 2] = [32, 32];

/// An ONNX file: what is read fits together, and is the same network once it was written and read again.
pub fn onnx(bytes: &[u8]) {
    let Ok(first) = read_with(bytes, None, &ReadOptions { image_size: Some(SIZE) }) else { return };
    first.weights.check(&first.graph).expect("weights fit the graph that was read with them");
    assert!(first.tau.is_finite() && first.tau > 0.0, "tau is {}", first.tau);
    // With our header a softmax at the end stays.
    let metadata = [("dyconv".to_owned(), "{}".to_owned())].into();
    let options = WriteOptions { metadata, ..WriteOptions::default() };
    let written = match write(&first.graph, &first.weights, first.tau, &options) {
        Ok(written) => written.model,
        // Factors of a batch norm may be as large as f32 can be.
        Err(OnnxError::NotFinite(_)) => return,
        Err(error) => panic!("what was read cannot be written: {error}"),
    };
    let second = read_with(&written, None, &ReadOptions::default()).expect("what was written can be read");
    assert_eq!(ends(&second.graph), ends(&first.graph));
    assert_eq!(second.graph.dynamic_layers(), first.graph.dynamic_layers());
}

/// The sizes of the input and the output.
fn ends(graph: &Graph) -> ([usize; 3], Shape) {
    (graph.input_dims(), graph.node(graph.output()).shape)
}

/// What stands in front of each storage of a pickle, in the bytes of [`state_dict`].
pub(crate) const STORAGE: &[u8] = b"\n@@\n";

/// A state dict as a file; or a pickle with its storages, of which the file that `torch.save` would make is read: a zip
/// archive, whose checksums no mutation keeps.
pub fn state_dict(bytes: &[u8]) {
    if bytes.starts_with(b"\x80\x02") {
        let (pickle, storages) = cut(bytes, STORAGE).unwrap_or((bytes, &[]));
        read(&archive(pickle, storages));
    }
    read(bytes);
}

fn read(bytes: &[u8]) {
    with_files(&[("a.pth", bytes)], |folder| {
        let Ok(dict) = read_state_dict(&folder.join("a.pth")) else { return };
        let mut values = 0;
        for (name, tensor) in &dict.tensors {
            assert_eq!(tensor.data.len(), tensor.shape.iter().product::<usize>(), "{name}");
            values += tensor.data.len();
        }
        assert!(values <= bytes.len(), "{values} values from {} bytes", bytes.len());
        let Ok(found) = import(&dict, None) else { return };
        found.weights.check(&found.graph).expect("weights fit the graph that was recognized");
        let tau = found.tau.unwrap_or(1.0);
        let written = export(&found.graph, &found.weights, tau, &found.arch, Names::Timm).expect("a known network");
        let path = folder.join("b.safetensors");
        std::fs::write(&path, written).expect("a file");
        let dict = read_state_dict(&path).expect("what was written can be read");
        let again = import(&dict, None).expect("what was written is recognized");
        assert!(again.graph == found.graph && again.weights == found.weights, "another network");
    });
}

fn archive(pickle: &[u8], storages: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut put = |name: &str, bytes: &[u8]| {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(name, options).expect("a new entry");
        zip.write_all(bytes).expect("memory takes everything");
    };
    put("x/data.pkl", pickle);
    let (mut number, mut rest) = (0, storages);
    while !rest.is_empty() && number < 200 {
        let (storage, others) = cut(rest, STORAGE).unwrap_or((rest, &[]));
        put(&format!("x/data/{number}"), storage);
        (number, rest) = (number + 1, others);
    }
    zip.finish().expect("memory takes everything").into_inner()
}
