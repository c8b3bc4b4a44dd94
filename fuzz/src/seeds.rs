//! Small sound inputs for every target.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use dyconv::file::{Model, Provenance};
use dyconv::graph::{Init, init};
use dyconv::task::{Preprocessing, Task};

use crate::foreign::STORAGE;
use crate::network::dynamic;

/// Small networks of every kind in `golden/onnx`: `odds` has the rarer operators, the others mix kernels in their own ways.
const ONNX: [&str; 11] = [
    "golden_einsum_b2-dynamo",
    "golden_sum_b1-torchscript",
    "golden_static_b2-dynamo",
    "kaijieshi7_b2-torchscript",
    "odds-dynamo",
    "odds-torchscript",
    "tardelean_b1-dynamo",
    "timm_efficientnet_same-dynamo",
    "timm_ghostnet-dynamo",
    "tv_resnet_basic-torchscript",
    "tv_shufflenet-dynamo",
];

/// Small files of every kind in `golden/torch`.
const STATE_DICTS: [&str; 9] = [
    "refused_int8.pth",
    "refused_quantized.pth",
    "refused_sparse.pth",
    "rn4_bf16.pth",
    "rn4_checkpoint.pth",
    "rn4_f16.safetensors",
    "rn4_legacy.pth",
    "rn4_state_dict_ema.pth.tar",
    "rn4_transposed_legacy.pth",
];

/// Where `DYCONV_FUZZ_SEEDS` names a folder, writes them there: `FOLDER/TARGET/…`.
pub fn write_seeds() {
    if let Some(folder) = std::env::var_os("DYCONV_FUZZ_SEEDS") {
        write(&PathBuf::from(folder));
    }
}

fn write(root: &Path) {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join(target);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        fs::write(folder.join(name), bytes).expect("a seed is written");
    };

    let graph = dynamic([3, 6, 7]).expect("sizes that fit");
    put("graph", "dynamic.json", serde_json::to_string(&graph).expect("plain values").as_bytes());
    let model = Model {
        weights: init(&graph, Init::default()),
        tau: 1.0,
        preprocessing: Preprocessing::usual(3, [6, 7], 8),
        task: Task::Classification { classes: (0..10).map(|i| format!("class {i}")).collect() },
        provenance: Provenance::default(),
        graph,
    };
    put("model", "dynamic.safetensors", &model.to_bytes().expect("a sound model"));

    for seed in 0..16u32 {
        let bytes: Vec<u8> = (0..200u32).map(|i| ((i + 7 * seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        put("network", &seed.to_string(), &bytes);
        put("sessions", &seed.to_string(), &bytes[..12]);
    }

    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/data/testdata");
    let mut small = None;
    for entry in fs::read_dir(pictures).expect("the test pictures").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let bytes = fs::read(entry.path()).unwrap_or_default();
        if [".jpg", ".png", ".webp", ".gif", ".bmp", ".tif"].iter().any(|end| name.ends_with(end))
            && bytes.len() < 8_192
        {
            if name.ends_with(".png") {
                small = Some(bytes.clone());
            }
            put("image", &name, &bytes);
        }
    }

    let annotations = r#"{"images":[{"id":1,"file_name":"1.jpg","width":64,"height":48}],"annotations":[{"id":5,"image_id":1,"category_id":1,"bbox":[4,5,30,40],"area":700.0,"iscrowd":0,"num_keypoints":2,"keypoints":[10,10,2,20,20,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}],"categories":[{"id":1,"name":"person"}]}"#;
    let boxes = r#"[{"image_id":1,"category_id":1,"bbox":[4,5,30,40],"score":0.9}]"#;
    put("coco", "one.json", format!("{annotations}\n@@\n{boxes}").as_bytes());

    let mut tar = tar::Builder::new(Vec::new());
    let picture = small.expect("a small PNG among the test pictures");
    for (name, bytes) in [("a.png", &picture[..]), ("a.cls", b"0"), ("b.png", &picture[..]), ("b.cls", b"1")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).expect("memory takes everything");
    }
    put("tar", "two.tar", &tar.into_inner().expect("memory takes everything"));

    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[9; 12]].concat();
    let labels = [0, 0, 8, 1, 0, 0, 0, 2, 0, 1];
    put("packed", "mnist", &[&[0, 0, images.len() as u8][..], &images, &labels].concat());
    let batch: Vec<u8> =
        (0..2u8).flat_map(|class| std::iter::once(class).chain((0..3072u32).map(|i| i as u8))).collect();
    let cut = (batch.len() as u16).to_be_bytes();
    put("packed", "cifar", &[&[2, cut[0], cut[1]][..], &batch, b"cat\ndog\n"].concat());

    let mut header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
    header.resize(117, b' ');
    header.push(b'\n');
    put("npy", "two_by_three.npy", &[&b"\x93NUMPY\x01\x00\x76\x00"[..], &header, &[0; 24]].concat());

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    for name in ONNX {
        let name = format!("{name}.onnx");
        put("onnx", &name, &fs::read(golden.join("onnx").join(&name)).expect("a golden network"));
    }
    for name in STATE_DICTS {
        let bytes = fs::read(golden.join("torch").join(name)).expect("a golden state dict");
        if let Some(unpacked) = unpacked(&bytes) {
            put("state_dict", &format!("{name}.pickle"), &unpacked);
        }
        put("state_dict", name, &bytes);
    }
}

/// A pickle and its storages, as [`crate::state_dict`] takes them, out of a zip archive of `torch.save`.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    let root = archive.file_names().find_map(|name| Some(name.ok()?.strip_suffix("data.pkl")?.to_owned()))?;
    let mut read = |name: &str| {
        let mut entry = Vec::new();
        archive.by_name(&format!("{root}{name}")).ok()?.read_to_end(&mut entry).ok()?;
        Some(entry)
    };
    let mut all = read("data.pkl")?;
    for storage in (0..).map_while(|number| read(&format!("data/{number}"))) {
        all.extend([STORAGE, &storage].concat());
    }
    Some(all)
}
