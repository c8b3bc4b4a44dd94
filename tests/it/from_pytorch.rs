//! Every command of `docs/from-pytorch.md`, in its order, in one folder. Files of PyTorch are those in `golden/torch`.
#![cfg(feature = "train")]

use std::fs;
use std::path::Path;

use crate::common::{Shell, picture};

/// The classes of the page, in the order of the outputs of the golden network.
const FLOWERS: [&str; 5] = ["daisy", "dandelion", "rose", "sunflower", "tulip"];

/// The commands in the blocks ```sh of a page.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect()
}

#[test]
fn every_command_of_the_page_runs() {
    let shell = Shell::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/torch");
    for (from, to) in [("rn4.pth", "net.pth"), ("pictures.npy", "x.npy"), ("rn4.out.npy", "y.npy")] {
        shell.write(to, &fs::read(golden.join(from)).unwrap());
    }
    shell.write("classes.txt", (FLOWERS.join("\n") + "\n").as_bytes());
    for (class, base) in FLOWERS.iter().zip((10..).step_by(50)) {
        for i in 0..10u8 {
            let path = shell.path(&format!("flowers/{class}/{i}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            picture(40, 36, base + i).save(path).unwrap();
        }
    }
    picture(60, 50, 110).save(shell.path("rose.jpg")).unwrap();

    let commands = commands(include_str!("../../docs/from-pytorch.md"));
    assert!(commands.len() >= 12, "{commands:?}");
    for command in commands {
        let words = command.strip_prefix("dyconv ").unwrap_or_else(|| panic!("not of this program: {command}"));
        let said = shell.ok(words);
        if words.contains("--check") {
            assert!(said.starts_with("answers compared with y.npy: largest relative difference "), "{said}");
        }
    }
    for file in
        ["flowers.onnx", "exact.onnx", "frozen.onnx", "again.safetensors", "back.safetensors", "flowers-hub/README.md"]
    {
        assert!(shell.path(file).is_file(), "{file}");
    }
}
