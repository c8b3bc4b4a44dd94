//! Bad input ends in one clear line and a non-zero exit; nothing panics, nothing is overwritten.

use std::fs;

use crate::common::{Shell, picture};

fn model(shell: &Shell) {
    shell.ok("new dy_resnet10_x0_125 --classes 2 --image-size 16 --small-stem --out model.safetensors");
}

#[test]
#[cfg(feature = "train")]
fn an_instruction_set_that_training_cannot_have() {
    let shell = Shell::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(["train", "--out", "run"]).env("DYCONV_ISA", "nonsense").current_dir(shell.path(""));
    let output = command.output().unwrap();
    let error = crate::common::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let expected = "error: DYCONV_ISA: invalid value `nonsense`: there is no such instruction set; possible values on this CPU: portable";
    assert!(error.contains(expected), "{error}");
    assert!(!shell.path("run").exists(), "nothing is made before the choice is known to be good");
}

#[test]
#[cfg(feature = "train")]
fn data_sets() {
    let shell = Shell::new();
    let train = |data: &str, expected: &str| {
        shell.says(&format!("train --data {data} --out run"), expected);
        assert!(!shell.path("run").exists(), "{data}: nothing is made before the data are known to be good");
    };
    train("nowhere", "nowhere");
    fs::create_dir(shell.path("empty")).unwrap();
    train("empty", "no images");
    picture(8, 8, 9).save(shell.write("one/only/a.png", b"")).unwrap();
    train("one", "one class");
    shell.pictures("hollow");
    fs::create_dir(shell.path("hollow/nothing")).unwrap();
    train("hollow", "nothing");
    shell.pictures("photos");
    train("photos --batch 100000", "train.batch");
    train("photos --model resnet81", "did you mean `resnet18`?");
    train("photos --set train.epoch=3", "did you mean `train.epochs`?");
    train("photos --set model.kernels=0", "kernels");
    train("photos --recipe absent.toml", "absent.toml");
    shell.write("bad.toml", b"[train]\nepochs = [");
    train("photos --recipe bad.toml", "line 2");
    shell.write("unknown.toml", b"[train]\nmomentun = 0.5");
    train(
        "photos --recipe unknown.toml",
        "unknown.toml: line 2: unknown key `train.momentun`; did you mean `train.momentum`?",
    );
    train("photos --recipe digit", "did you mean `digits`?");
    shell.write("value.toml", b"[train]\n# fast\nlr = \"fast\"\nepochs = 2\n");
    train("photos --recipe value.toml", "value.toml: line 3: `train.lr`: expected a number, got the text");
    shell.write("good.toml", b"[train]\nlr = 0.1\n");
    train("photos --recipe good.toml --set train.lr=fast", "error: recipe: `train.lr`: expected a number");
    train("photos --set lr=0.1", "unknown key `lr`; did you mean `train.lr`?");
    train("photos --set model.gate=softmx", "expected `softmax` or `sigmoid`; did you mean `softmax`?");
    train("photos --epochs 2 --set train.epochs=3", "--epochs 2 and --set train.epochs=3 contradict each other");
    train("photos --batch 8 --set train.batch=9", "--batch 8 and --set train.batch=9 contradict");
    train(
        "photos --model resnet10 --set model.name=resnet18",
        "--model resnet10 and --set model.name=resnet18 contradict",
    );
    train(
        "photos --image-size 32 --set model.image_size=64",
        "--image-size 32 and --set model.image_size=64 contradict",
    );
    train("photos --seed 1 --set seed=2", "--seed 1 and --set seed=2 contradict");
    train("photos --set seed=18446744073709551615", "beyond TOML's whole numbers");
    let output = shell.run("train --data photos --seed 18446744073709551615");
    let err = crate::common::text(&output.stderr);
    assert!(output.status.code() == Some(2) && err.contains("0..=9223372036854775807"), "{err}");
    train("photos --model resnet10 --twin", "is static itself");
    shell.write("file", b"");
    shell.says("train --data photos --out file/run", "file/run: cannot be written");
}

#[test]
#[cfg(feature = "train")]
fn a_diverging_run_stops_and_says_so() {
    let shell = Shell::new();
    shell.pictures("photos");
    let words = "train --data photos --model dy_resnet10_x0_125 --image-size 16 --batch 8 --epochs 30 --out run \
                 --set train.lr=1000 --set train.warmup_epochs=0 --set train.momentum=0.99";
    let error = shell.error(words);
    assert!(error.contains("training diverged") && error.contains("train.lr"), "{error}");
}

#[test]
fn images() {
    let shell = Shell::new();
    model(&shell);
    let good = shell.path("good.jpg");
    picture(40, 30, 90).save(&good).unwrap();
    let jpeg = fs::read(&good).unwrap();
    shell.write("zero.jpg", b"");
    shell.write("cut.jpg", &jpeg[..jpeg.len() / 2]);
    shell.write("words.png", b"these are words");
    shell.write("huge.png", &huge_png());
    for name in ["zero.jpg", "cut.jpg", "words.png", "huge.png", "absent.png"] {
        shell.says(&format!("predict model.safetensors {name}"), name);
    }
    shell.says("predict model.safetensors huge.png", "20000");
    // Of several images the good ones are answered.
    let output = shell.run("predict model.safetensors cut.jpg good.jpg");
    assert_eq!(output.status.code(), Some(1));
    assert!(crate::common::text(&output.stdout).contains("good.jpg"));
    assert!(crate::common::text(&output.stderr).ends_with("error: 1 of 2 images have no answer\n"));
}

/// A PNG whose header claims 20,000 × 20,000 pixels, with a right checksum and no pixels.
fn huge_png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(kind);
        png.extend(data);
        png.extend(crc32(&[&kind[..], data].concat()).to_be_bytes());
    };
    let side = 20_000u32.to_be_bytes();
    chunk(b"IHDR", &[&side[..], &side[..], &[8, 2, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]);
    chunk(b"IEND", b"");
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn model_files() {
    let shell = Shell::new();
    model(&shell);
    picture(16, 16, 90).save(shell.path("a.png")).unwrap();
    shell.ok("predict model.safetensors a.png");
    let bytes = fs::read(shell.path("model.safetensors")).unwrap();
    let says = |name: &str, content: &[u8], expected: &str| {
        shell.write(name, content);
        for verb in [format!("predict {name} a.png"), format!("cost {name}"), format!("eval {name} --data digits")] {
            shell.says(&verb, name);
            shell.says(&verb, expected);
        }
    };
    says("cut.safetensors", &bytes[..bytes.len() - 1], "not a whole safetensors file");
    says("zero.safetensors", b"", "not a whole safetensors file");
    says("magic.safetensors", b"\x89PNG\r\n\x1a\n and so on", "not a whole safetensors file");
    let text = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap_or_else(|| panic!("no {from}"));
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        changed
    };
    says(
        "version.safetensors",
        &text(r#"\"version\":2"#, r#"\"version\":9"#),
        "version 9, this program reads versions 1 to 2",
    );
    says("field.safetensors", &text(r#"\"tau\""#, r#"\"tao\""#), "unknown field `tao`");
    says(
        "name.safetensors",
        &text(r#""classifier.bias""#, r#""classifier.bios""#),
        "tensor `classifier.bias` [2] is missing",
    );
    says(
        "shape.safetensors",
        &text(r#""shape":[2,64]"#, r#""shape":[64,2]"#),
        "has shape [64, 2], the graph expects [2, 64]",
    );
    let mut nan = bytes.clone();
    let at = nan.len() - 4;
    nan[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    says("nan.safetensors", &nan, "holds NaN");
    shell.says("predict absent.safetensors a.png", "absent.safetensors: cannot be read");
    shell.says("predict a.png a.png", "a.png: is not a whole safetensors file");
}

#[test]
fn names_and_classes() {
    let shell = Shell::new();
    model(&shell);
    shell.says("cost mobilenet_v2_x1_O", "did you mean `mobilenet_v2_x1_0`?");
    shell.says("new dy_resnet81 --out x.safetensors", "did you mean `dy_resnet18`?");
    assert!(!shell.path("x.safetensors").exists());
    shell.says("cost resnet18 --dynamic-head", "means nothing for ResNet");
    shell.says("cost dy_resnet18 --layer-kernels block*=2", "matches no dynamic layer");
    shell.says("cost resnet18 --image-size 0", "input sides must lie in");
    shell.says("new resnet18 --channels 2 --out x.safetensors", "channels must be 1 or 3");
    shell.says("eval model.safetensors --data digits", "does not know the class");
    shell.says("new resnet10 --out absent/x.safetensors", "absent/x.safetensors: cannot be written");
    assert_eq!(shell.run("predict model.safetensors").status.code(), Some(2), "wrong usage has its own exit status");
    assert_eq!(shell.run("fly").status.code(), Some(2));
}
