//! The whole path through the binary: a folder of images, a trained network, answers.
#![cfg(feature = "train")]

use crate::common::Shell;
use serde_json::Value;

const TRAIN: &str =
    "train --data photos --model dy_resnet10_x0_125 --image-size 24 --epochs 4 --batch 8 --set train.lr=0.05";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn from_a_folder_of_images_to_answers() {
    let shell = Shell::new();
    shell.pictures("photos");
    let table = shell.ok(&format!("{TRAIN} --out first --twin"));
    let heading = table.lines().next().unwrap();
    for column in ["network", "validation accuracy", "params", "MAdds", "CPU latency"] {
        assert!(heading.contains(column), "{table}");
    }
    assert!(table.contains("\ndy_resnet10_x0_125 ") && table.contains("\nresnet10_x0_125 "), "{table}");

    let result = json(&shell.ok("eval first/model.safetensors --data photos --json"));
    let images = result["images"].as_u64().unwrap();
    assert!((4..20).contains(&images), "about a fifth of 48, drawn by name: {result}");
    assert!(result["top1"].as_f64().unwrap() >= 0.8, "light and dark are easy: {result}");
    let cells = result["confusion"].as_array().unwrap();
    assert_eq!(cells.iter().map(|cell| cell["images"].as_u64().unwrap()).sum::<u64>(), images, "{result}");
    assert!(cells.iter().any(|cell| cell["label"] == "light" && cell["prediction"] == "light"), "{result}");
    assert_eq!(result["unanswered"], 0);
    let report = shell.ok("eval first/model.safetensors --data photos --split all");
    assert!(report.contains("top-1") && report.contains("light") && report.contains("label \\ answer"), "{report}");

    let answers = json(&shell.ok("predict first/model.safetensors photos/light/22.png photos/dark/01.jpg --json"));
    assert_eq!(answers[0]["answers"][0]["class"], "light");
    assert_eq!(answers[1]["answers"][0]["class"], "dark");
    let sum: f64 = (0..2).map(|i| answers[0]["answers"][i]["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5);

    // The same recipe and seed give the same file, byte for byte; another seed does not.
    shell.ok(&format!("{TRAIN} --out second"));
    shell.ok(&format!("{TRAIN} --out third --seed 1"));
    let file = |run: &str| std::fs::read(shell.path(run).join("model.safetensors")).unwrap();
    assert!(file("first") == file("second"), "two equal runs differ");
    assert!(file("first") != file("third"));

    // The recipe that was written repeats the run.
    shell.ok("train --data photos --recipe first/recipe.toml --out fourth");
    assert!(file("first") == file("fourth"), "the written recipe is not the whole recipe");

    // A folder that holds a run is left alone.
    shell.says(&format!("{TRAIN} --out first"), "first: holds a run already");
    assert!(file("first") == file("second"));
}

#[test]
fn the_temperature_survives_the_file() {
    let shell = Shell::new();
    shell.pictures("photos");
    let output = shell.run(&format!("{TRAIN} --out run --set temperature.epochs=8"));
    assert!(
        crate::common::text(&output.stderr).contains("τ did not reach 1: its schedule takes 8 epochs, the run had 4")
    );
    let model = dyconv::file::Model::read(&shell.path("run/model.safetensors")).unwrap();
    assert_eq!(model.tau, 15.5);
}

#[test]
fn broken_images_are_named_counted_and_skipped_until_there_are_too_many() {
    let shell = Shell::new();
    shell.pictures("photos");
    shell.write("photos/dark/zero.jpg", b"");
    shell.write("photos/dark/words.png", b"certainly no picture");
    let jpeg = std::fs::read(shell.path("photos/light/01.jpg")).unwrap();
    shell.write("photos/light/cut.jpg", &jpeg[..jpeg.len() / 2]);
    let output = shell.run(&format!("{} --out run", TRAIN.replace("--epochs 4", "--epochs 1")));
    let err = crate::common::text(&output.stderr);
    assert!(output.status.success(), "{err}");
    for name in ["zero.jpg", "words.png", "cut.jpg"] {
        assert_eq!(err.lines().filter(|l| l.starts_with("skipped: ") && l.contains(name)).count(), 1, "{name}: {err}");
    }
    let result = json(&shell.ok("eval run/model.safetensors --data photos --split all --json"));
    assert_eq!((result["images"].as_u64(), result["broken"].as_u64()), (Some(48), Some(3)));
    let error = shell.error(&format!("{TRAIN} --out other --set data.max_broken=0 --set data.val_fraction=0"));
    assert!(error.contains("broken"), "{error}");
    assert!(shell.error("eval run/model.safetensors --data photos --split all --max-broken 1").contains("broken"));
}

#[test]
fn models_cost_and_new_agree() {
    let shell = Shell::new();
    let models = json(&shell.ok("models --json"));
    let row = models.as_array().unwrap().iter().find(|r| r["name"] == "dy_mobilenet_v2_x0_5").unwrap();
    assert_eq!((row["params"].as_u64(), row["static_params"].as_u64()), (Some(3_946_334), Some(1_968_680)));
    assert!(shell.ok("models").contains("dy_resnet50"));

    let cost = json(&shell.ok("cost dy_mobilenet_v2_x0_5 --json"));
    assert_eq!(cost["params"], row["params"]);
    let madds = &cost["madds"];
    let part = |name: &str| madds[name].as_u64().unwrap();
    assert_eq!((part("convolution"), part("mixing")), (97_131_840, 1_855_616));
    assert_eq!((part("attention"), part("pooling")), (583_784, 3_569_552));
    assert_eq!(part("total"), 97_131_840 + 1_855_616 + 583_784 + 3_569_552 / 2);
    assert_eq!(row["madds"], madds["total"]);
    assert!(shell.ok("cost resnet18 --layers --image-size 64").contains("layer4.1.conv2"));

    shell.ok("new dy_resnet10_x0_25 --classes 5 --image-size 32 --small-stem --out fresh.safetensors --seed 4");
    let from_file = json(&shell.ok("cost ./fresh.safetensors --json"));
    let from_name = json(&shell.ok("cost dy_resnet10_x0_25 --classes 5 --image-size 32 --small-stem --json"));
    assert_eq!(from_file, from_name);
    shell.says("new resnet10 --out fresh.safetensors", "exists already");
}

#[test]
fn raw_tensors_give_the_same_through_every_engine() {
    let shell = Shell::new();
    shell.ok("new dy_mobilenet_v3_small_x0_25 --classes 7 --image-size 33 --out m.safetensors --tau 2");
    let values: Vec<f32> = (0..2 * 3 * 33 * 33).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 33, 33), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    shell.write("x.npy", &bytes);
    let read = |name: &str| -> Vec<f32> {
        let bytes = std::fs::read(shell.path(name)).unwrap();
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    for engine in ["plan", "oracle", "burn"] {
        shell.ok(&format!("run m.safetensors --input x.npy --output {engine}.npy --all {engine} --engine {engine}"));
    }
    let oracle = read("oracle.npy");
    assert_eq!(oracle.len(), 2 * 7);
    for engine in ["plan", "burn"] {
        for (a, b) in read(&format!("{engine}.npy")).iter().zip(&oracle) {
            assert!((a - b).abs() < 1e-4, "{engine}: {a} and {b}");
        }
        let pi = read(&format!("{engine}/blocks.3.expand.router.softmax.npy"));
        assert_eq!(pi.len(), 2 * 4);
        assert!((pi[..4].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
    let nodes = |engine: &str| std::fs::read_dir(shell.path(engine)).unwrap().count();
    assert!(nodes("plan") < nodes("oracle") && nodes("oracle") == nodes("burn"));
    bytes.truncate(bytes.len() - 4);
    shell.write("short.npy", &bytes);
    shell.says("run m.safetensors --input short.npy --output y.npy", "short.npy: ");
    shell.write("text.npy", b"no array");
    shell.says("run m.safetensors --input text.npy --output y.npy", "text.npy: is no .npy file");
    shell.ok("new resnet10_x0_125 --image-size 32 --out other.safetensors");
    shell.says("run other.safetensors --input x.npy --output y.npy", "the model expects [N, 3, 32, 32]");
}

#[test]
fn bench_times_twins_in_turn() {
    let shell = Shell::new();
    let words = "bench dy_resnet10_x0_125 --classes 4 --image-size 32 --threads 1,2 --batch 1,3 --seconds 0.01";
    let result = json(&shell.ok(&format!("{words} --static-twin --per-node --json")));
    let rows = result["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "two networks, two thread counts, two batches");
    for row in rows {
        let ms = |key: &str| row[key].as_f64().unwrap();
        assert!(
            0.0 < ms("fastest_ms") && ms("fastest_ms") <= ms("median_ms") && ms("median_ms") <= ms("p90_ms"),
            "{row}"
        );
    }
    assert_eq!(rows[1]["network"], "resnet10_x0_125");
    assert!(rows[0]["memory_bytes"].as_u64() > rows[1]["memory_bytes"].as_u64(), "a bank takes room");
    let nodes = result["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|n| n["node"].as_str().unwrap().starts_with("layer1.0.conv1")), "{result}");
    assert!(shell.ok(&format!("{words} --static-twin")).contains("dynamic ÷ static"));
    shell.says("bench resnet10 --static-twin", "is static itself");
}

#[test]
fn help_shows_examples() {
    let shell = Shell::new();
    let all = shell.ok("--help");
    // A verb stands after two spaces; what its description continues on stands further in.
    let lines = all.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let verbs: Vec<&str> = verbs.filter(|verb| !["", "help"].contains(verb)).collect();
    assert!(verbs.len() >= 13 && verbs.contains(&"make-figures"), "{verbs:?}");
    for verb in verbs {
        let help = shell.ok(&format!("{verb} --help"));
        assert!(help.contains("Examples:") && help.contains(&format!("dyconv {verb}")), "{help}");
    }
}
