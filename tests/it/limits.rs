//! Absurd numbers, names and files end in a clear line at once: nothing overflows, nothing takes a minute or a gigabyte.

use crate::common::{Shell, text};

const TINY: &str = "resnet10_x0_125 --classes 2 --image-size 8 --small-stem";

/// An `.npy` file of version 1.
fn npy(header: &str, values: &[f32]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

fn array(fortran: &str, shape: &str, values: &[f32]) -> Vec<u8> {
    npy(&format!("{{'descr': '<f4', 'fortran_order': {fortran}, 'shape': {shape}, }}"), values)
}

#[test]
fn absurd_sizes_of_networks() {
    let shell = Shell::new();
    for name in ["dy_resnet18", "dy_mobilenet_v2_x1_0", "dy_mobilenet_v3_small", "pose_dy_resnet18_a"] {
        for (option, expected) in [
            ("--width 1e9", "`width`: must lie in 0.01..=16"),
            ("--width NaN", "`width`: must lie in 0.01..=16"),
            ("--head-width 1e9", "`head_width`"),
            ("--kernels 1000000000", "`kernels`: must lie in 1..=65536"),
            ("--kernels 18446744073709551615", "`kernels`: must lie in 1..=65536"),
            ("--reduction 18446744073709551615", "`reduction`: must lie in 1..=65536"),
            ("--image-size 18446744073709551615", "input sides must lie in"),
            ("--image-size 16384 --width 16 --kernels 65536", "node `"),
        ] {
            for verb in ["cost", "bench"] {
                shell.says(&format!("{verb} {name} {option}"), expected);
            }
            shell.says(&format!("new {name} {option} --out m.safetensors"), expected);
        }
    }
    shell.says("cost dy_resnet18_x99999999", "`width`: must lie in 0.01..=16");
    shell.says("new resnet18 --classes 1000000000 --out m.safetensors", "`classes`: must lie in 1..=65536");
    shell.says("new dy_resnet50 --kernels 500 --out m.safetensors", "bytes of weights, and a model file has at most");
    shell.says("bench resnet10 --batch 1,1000000", "--batch takes whole numbers from 1 to 1024");
    assert!(!shell.path("m.safetensors").exists());
}

#[test]
fn numbers_of_threads_are_bounded_in_every_verb() {
    let shell = Shell::new();
    for words in
        ["bench resnet10", "eval m.safetensors --data x", "predict m.safetensors a.png", "make-figures --out f"]
    {
        for threads in ["0", "100000", "1,2,4096", "-1"] {
            let output = shell.run(&format!("{words} --threads={threads}"));
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{words} {threads}: {error}");
            assert!(error.contains("expected a whole number from 1 to 1024"), "{words} {threads}: {error}");
        }
    }
}

#[test]
fn patterns_of_many_stars() {
    let shell = Shell::new();
    let stars = "*a".repeat(400);
    shell.says(&format!("cost dy_resnet18 --layer-kernels {stars}=2"), "matches no dynamic layer");
    shell.says(&format!("cost dy_resnet18 --layer-kernels {}=2", "*".repeat(5000)), "a pattern has at most 1000 bytes");
    shell.says(&format!("cost {}", "resnet".repeat(10_000)), "unknown model `resnetresnet");
}

#[test]
fn arrays_of_any_make() {
    let shell = Shell::new();
    shell.ok(&format!("new {TINY} --out m.safetensors"));
    let run = "run m.safetensors --input x.npy --output y.npy";
    let says = |bytes: &[u8], expected: &str| {
        shell.write("x.npy", bytes);
        shell.says(run, "x.npy");
        shell.says(run, expected);
    };
    says(&npy(&"[".repeat(113), &[]), "holds records or nested arrays");
    says(
        &npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3, 8, 8), }", &[0.0; 384]),
        "save x.astype('float32')",
    );
    says(&array("False", "()", &[1.0]), "has shape [], the model expects [N, 3, 8, 8]");
    says(&array("False", "(0, 3, 8, 8)", &[]), "the model expects [N, 3, 8, 8]");
    says(&array("False", "(18446744073709551615, 3, 8, 8)", &[1.0]), "is cut short");
    says(b"PK\x03\x04", "save it with numpy.save");
    // The same picture in both orders.
    let at = |c: usize, y: usize, x: usize| ((c * 64 + y * 8 + x) % 23) as f32 / 23.0;
    let rows: Vec<f32> = (0..192).map(|i| at(i / 64, i / 8 % 8, i % 8)).collect();
    let columns: Vec<f32> = (0..192).map(|i| at(i % 3, i / 3 % 8, i / 24)).collect();
    let answers = [("False", rows), ("True", columns)].map(|(fortran, values)| {
        shell.write("x.npy", &array(fortran, "(1, 3, 8, 8)", &values));
        shell.ok(run);
        std::fs::read(shell.path("y.npy")).unwrap()
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn answers_that_are_not_finite_are_counted() {
    let shell = Shell::new();
    shell.ok(&format!("new {TINY} --out m.safetensors"));
    let mut values = [0.5; 2 * 192];
    values[200] = f32::NAN;
    shell.write("x.npy", &array("False", "(2, 3, 8, 8)", &values));
    for engine in ["plan", "oracle"] {
        let output = shell.run(&format!("run m.safetensors --input x.npy --output y.npy --engine {engine}"));
        assert!(output.status.success());
        let note = "note: of 4 values of the answers 2 are NaN and 0 are infinite";
        assert!(text(&output.stderr).contains(note), "{engine}: {}", text(&output.stderr));
    }
    values[200] = 0.0;
    shell.write("x.npy", &array("False", "(2, 3, 8, 8)", &values));
    assert_eq!(text(&shell.run("run m.safetensors --input x.npy --output y.npy").stderr), "");
}

#[test]
#[cfg(unix)]
fn an_instruction_set_that_is_no_text_is_an_error() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dyconv"));
    command.args(["bench", "resnet10_x0_125", "--image-size", "8", "--small-stem", "--seconds", "0.001"]);
    let output = command.env("DYCONV_ISA", std::ffi::OsStr::from_bytes(b"avx2\xff")).output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("there is no such instruction set; possible values on this CPU: portable"), "{error}");
}
