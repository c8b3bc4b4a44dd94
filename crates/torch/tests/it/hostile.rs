//! Files that were made or damaged to do harm: one clear line each, no panic, no memory beyond the file's size.

use std::io::Write;
use std::path::Path;

use dyconv_graph::{Init, init};
use dyconv_models::{Options, build};
use dyconv_torch::{Names, export, import, read_state_dict};

fn error(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let error = read_state_dict(file.path()).map(|d| d.tensors.len()).unwrap_err().to_string();
    let shown = error.replace(&file.path().display().to_string(), "FILE");
    assert!(!shown.contains('\n') && shown.starts_with("FILE: ") && shown.len() < 700, "{shown}");
    shown
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

fn zip(pickle: &[u8], storages: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let method = if deflate { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let all = [("x/data.pkl", pickle.to_vec())].into_iter().chain(storages.iter().map(|(n, b)| (*n, b.clone())));
    for (name, bytes) in all {
        zip.start_file(name, options).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A pickle of a dictionary with one tensor `w` of `count` floats, all strides as given.
fn one_tensor(count: u32, stored: u32, stride: u8) -> Vec<u8> {
    let number = |n: u32| [&b"J"[..], &n.to_le_bytes()].concat();
    let text = |t: &str| [&b"X"[..], &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    [
        &b"\x80\x02}"[..],
        &text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &number(stored),
        b"tQK\x00",
        &number(count),
        b"\x85K",
        &[stride],
        b"\x85\x89}tRs.",
    ]
    .concat()
}

#[test]
fn containers_that_lie_are_refused() {
    assert!(error(b"").contains("neither safetensors nor a zip"));
    assert!(error(b"\x80\x02}.").contains("neither safetensors nor a zip"));
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert!(error(&safetensors(twice, 8)).contains("tensor `a` occurs twice"));
    let past = r#"{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}"#;
    assert!(error(&safetensors(past, 8)).contains("not a whole checkpoint"));
    let long = [&(1u64 << 31).to_le_bytes()[..], b"{"].concat();
    assert!(error(&long).contains("cut short"));
    assert!(error(&safetensors("{}", 0)).contains("holds no float tensors"));
    let small = r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#;
    assert!(error(&safetensors(small, 4)).contains("tensor `a` is F8_E4M3"));
}

#[test]
fn pickles_that_lie_are_refused() {
    let floats = vec![0; 64];
    let whole = zip(&one_tensor(16, 16, 1), &[("x/data/0", floats.clone())], false);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &whole).unwrap();
    assert_eq!(read_state_dict(file.path()).unwrap().tensors["w"].shape, [16]);
    for end in [whole.len() / 4, whole.len() / 2, whole.len() - 10] {
        assert!(error(&whole[..end]).contains("not a whole checkpoint"));
    }
    // One stored number that a view makes into many.
    let view = zip(&one_tensor(500_000_000, 16, 0), &[("x/data/0", floats.clone())], false);
    assert!(error(&view).contains("decompression bomb"), "{}", error(&view));
    // Zeros that were compressed.
    let zeros = zip(&one_tensor(4_000_000, 4_000_000, 1), &[("x/data/0", vec![0; 16_000_000])], true);
    assert!(zeros.len() < 100_000 && error(&zeros).contains("archive entries"));
    // Copies of copies.
    let mut bomb = b"\x80\x02](".to_vec();
    bomb.extend([&b"K\x01".repeat(10)[..], b"eq\x00"].concat());
    for level in 0..12u8 {
        bomb.extend([&b"]("[..], &[b'h', level].repeat(10), &[b'e', b'q', level + 1]].concat());
    }
    bomb.push(b'.');
    assert!(error(&zip(&bomb, &[], false)).contains("bytes of objects"));
    let mut pickle = one_tensor(16, 16, 1);
    pickle.splice(3..3, *b"X\x01\x00\x00\x00wK\x01s");
    assert!(error(&zip(&pickle, &[("x/data/0", floats.clone())], false)).contains("tensor `w` occurs twice"));
    let calls = |global: &str| {
        let mut pickle = one_tensor(16, 16, 1);
        pickle.splice(3..3, [b"X\x01\x00\x00\x00k", global.as_bytes(), b"(X\x02\x00\x00\x00lstRs"].concat());
        zip(&pickle, &[("x/data/0", floats.clone())], false)
    };
    for global in ["cposix\nsystem\n", "cbuiltins\neval\n", "csubprocess\nPopen\n", "cos.path\njoin\n"] {
        let error = error(&calls(global));
        assert!(error.contains("nothing was run"), "{error}");
    }
    // Harmless classes are left out and named.
    std::fs::write(file.path(), calls("cmylib.config\nSettings\n")).unwrap();
    let dict = read_state_dict(file.path()).unwrap();
    assert!(dict.notes.iter().any(|n| n.contains("`mylib.config.Settings`")), "{:?}", dict.notes);
}

/// A generator of reproducible numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }
}

/// 10,000 damaged files of both kinds: a result or an error, and never more than four floats of tensors for each byte.
#[test]
fn ten_thousand_damaged_files() {
    let options = Options { classes: 3, image_size: [32, 32], ..Options::default() };
    let graph = build("rn4_x0_5", &options).unwrap();
    let safe = export(&graph, &init(&graph, Init::default()), 1.0, "rn4_x0_5", Names::Timm).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/torch");
    let mut seeds = vec![safe, zip(&one_tensor(16, 16, 1), &[("x/data/0", vec![0; 64])], false)];
    for name in ["rn4.safetensors", "dy_rn4_kaijieshi7.pth", "rn4_legacy.pth", "rn4_module.pt"] {
        seeds.push(std::fs::read(golden.join(name)).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let mut random = Random(15);
    let (mut read, mut refused) = (0, 0);
    for round in 0..10_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        // Most of a file is numbers; what describes them is at both ends.
        let window = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(3000) };
        for _ in 0..=random.below(4) {
            let at = if random.below(3) == 0 {
                bytes.len().saturating_sub(1 + random.below(window))
            } else {
                random.below(window)
            };
            let Some(last) = bytes.len().checked_sub(1) else { break };
            let at = at.min(last);
            match random.below(5) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + random.below(64)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + random.below(16)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match read_state_dict(&path) {
            Ok(dict) => {
                let floats: usize = dict.tensors.values().map(|t| t.data.len()).sum();
                assert!(4 * floats <= 4 * bytes.len(), "{floats} floats of {} bytes", bytes.len());
                if round % 10 == 0 {
                    let _ = import(&dict, None);
                }
                read += 1;
            }
            Err(error) => {
                assert!(error.to_string().len() < 900, "{error}");
                refused += 1;
            }
        }
    }
    assert!(read > 500 && refused > 2000, "{read} read, {refused} refused");
}
