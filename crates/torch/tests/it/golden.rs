//! Small checkpoints that PyTorch wrote (`golden/torch`, with their answers): every container, wrapper, type and dialect.

use std::path::PathBuf;

use dyconv_engine::oracle;
use dyconv_torch::{Imported, TorchError, import_at, read_state_dict};

/// Logits of a network in f32 against PyTorch's, whose sums run in another order.
const AGREE: f32 = 1e-5;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/torch").join(name)
}

/// Shape and values of a `.npy` file of little-endian f32.
fn npy(name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(golden(name)).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..10 + length].to_vec()).unwrap();
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    (shape, bytes[10 + length..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

fn imported(name: &str, size: [usize; 2]) -> Result<Imported, TorchError> {
    import_at(&read_state_dict(&golden(name))?, None, Some(size))
}

#[test]
fn every_checkpoint_of_the_list_answers_as_pytorch_or_is_refused() {
    let (shape, pictures) = npy("pictures.npy");
    let [batch, _, height, width] = shape[..] else { panic!("{shape:?}") };
    let list = std::fs::read_to_string(golden("LIST")).unwrap();
    let (mut answered, mut refused) = (0, 0);
    for line in list.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [file, arch, tau, rest @ ..] = &words[..] else { panic!("{line}") };
        match rest {
            ["refused", words @ ..] => {
                let error = imported(file, [height, width]).map(|_| ()).unwrap_err().to_string();
                for word in words {
                    assert!(error.contains(word), "{file}: `{error}` does not say `{word}`");
                }
                assert!(!error.contains('\n') && error.len() < 700, "{file}: {error}");
                refused += 1;
            }
            [_, logits] => {
                let network = imported(file, [height, width]).unwrap_or_else(|e| panic!("{file}: {e}"));
                assert_eq!(&network.arch, arch, "{file}: {:?}", network.report);
                assert!(network.report.unused.is_empty(), "{file}: {:?}", network.report);
                let expected = npy(logits).1;
                let tau = tau.parse().unwrap_or(1.0);
                let found = oracle::run(&network.graph, &network.weights, tau, &pictures, batch).unwrap();
                let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                let error = found.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
                assert!(found.len() == expected.len() && error < AGREE, "{file}: {error:e}");
                answered += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert!(answered >= 15 && refused >= 6, "{answered} {refused}");
}

#[test]
fn reports_say_what_was_unwrapped_stripped_and_converted() {
    let notes = |name: &str| read_state_dict(&golden(name)).unwrap().notes.join("\n");
    for (name, words) in [
        ("rn4_model_ema.pth", "`model_ema`"),
        ("rn4_state_dict_ema.pth.tar", "`state_dict_ema`"),
        ("rn4_model.pth", "`model`"),
        ("rn4_bf16.pth", "bf16"),
        ("rn4_f16.safetensors", "f16"),
        ("rn4_f64.pth", "f64"),
        ("rn4.pth", "`num_batches_tracked` were skipped"),
    ] {
        assert!(notes(name).contains(words), "{name}: {}", notes(name));
    }
}

/// The same weights in every container, also where they are stored transposed.
#[test]
fn every_container_holds_the_same_tensors() {
    let tensors = |name: &str| imported(name, [32, 32]).unwrap().weights;
    let expected = tensors("rn4.safetensors");
    for name in
        ["rn4.pth", "rn4_legacy.pth", "rn4_module.pt", "rn4_transposed_legacy.pth", "rn4_checkpoint.pth", "rn4_f64.pth"]
    {
        assert!(tensors(name) == expected, "{name}");
    }
}
