//! The example of `docs/model-file.md`, run as it stands there by Python with only the safetensors package, gives a file
//! that `dyconv predict` runs.

use std::process::Command;

use crate::common::{Shell, skip, text};
use image::{ImageBuffer, Rgb};

/// The Python to use: `DYCONV_TEST_PYTHON`, which must work, or `python3`, if it has the package.
fn python() -> Option<String> {
    if let Ok(python) = std::env::var("DYCONV_TEST_PYTHON") {
        return Some(python);
    }
    let has = Command::new("python3").args(["-c", "from safetensors import TensorSpec"]).output();
    has.is_ok_and(|o| o.status.success()).then(|| "python3".into())
}

#[test]
fn the_documented_example_runs() {
    let Some(python) = python() else {
        return skip("no python3 with safetensors >= 0.8; set DYCONV_TEST_PYTHON to one");
    };
    let page = include_str!("../../docs/model-file.md");
    let (_, example) = page.split_once("## A complete example").unwrap();
    let script = example.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let shell = Shell::new();
    let path = shell.write("write.py", script.as_bytes());
    let output = Command::new(python).arg(path).current_dir(shell.path("")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, colour) in [("reddish", [220, 60, 40]), ("bluish", [30, 60, 200])] {
        let file = format!("{name}.png");
        ImageBuffer::from_pixel(30, 20, Rgb::<u8>(colour)).save(shell.path(&file)).unwrap();
        let answer = shell.ok(&format!("predict colour.safetensors {file} --top 1"));
        assert!(answer.contains(name), "{answer}");
    }
}
