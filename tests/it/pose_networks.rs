//! Keypoint networks through the binary: made, counted, timed, run.

use crate::common::Shell;
use dyconv::file::Model;
use dyconv::task::{Skeleton, Task};

#[test]
fn a_new_keypoint_network_names_its_joints_and_runs() {
    let shell = Shell::new();
    shell.ok("new pose_dy_mobilenet_v2_x0_35_b --image-size 64x96 --head-width 0.25 --out pose.safetensors");
    let model = Model::read(&shell.path("pose.safetensors")).unwrap();
    assert_eq!(model.task, Task::Keypoints(Skeleton::coco()));
    assert_eq!((model.graph.input_dims(), model.preprocessing.image_size), ([3, 64, 96], [64, 96]));
    assert_eq!(model.graph.output_shape().dims(), [17, 16, 24]);
    assert!(shell.ok("cost pose.safetensors --layers").contains("up.2.0.depthwise"));
    let timed = shell.ok("bench pose.safetensors --seconds 0.01");
    assert!(timed.contains("first answer"), "{timed}");

    let toml = "joints = [\"tip\", \"base\"]\nbones = [[0, 1]]\nsigmas = [0.05, 0.05]\n";
    shell.write("hand.toml", toml.as_bytes());
    let words = "new pose_resnet10_x0_125_a --skeleton hand.toml --image-size 64 --head-width 0.125";
    shell.ok(&format!("{words} --joints 2 --out hand.safetensors"));
    let model = Model::read(&shell.path("hand.safetensors")).unwrap();
    assert_eq!(model.skeleton().map(|s| &s.joints[..]), Some(&["tip".to_owned(), "base".to_owned()][..]));
    shell.says(&format!("{words} --out other.safetensors"), "has 2 joints, --joints asks for 17");
    shell.write("bad.toml", b"joints = [\"tip\"]\nsigmas = []\n");
    shell.says("new pose_resnet18_a --skeleton bad.toml --joints 1 --out x.safetensors", "bad.toml");
    shell.says("new resnet18 --skeleton hand.toml --out x.safetensors", "is a classifier");
    shell.says("new pose_resnet18 --out x.safetensors", "did you mean `pose_resnet18_a`");
    shell.says("cost pose_resnet18_a --joints 0", "joints");
    shell.says("cost resnet18 --head-width 0.5", "head_width");
    assert_eq!(shell.run("cost pose_resnet18_a --image-size 64y32").status.code(), Some(2));
}

#[test]
fn keypoint_networks_are_listed_counted_and_timed_with_their_twin() {
    let shell = Shell::new();
    let listed = shell.ok("models");
    for name in ["pose_dy_mobilenet_v2_x0_5_b", "pose_mobilenet_v2_x0_5_b", "pose_dy_resnet50_a"] {
        assert!(listed.contains(name), "{name}");
    }
    assert!(shell.ok("cost pose_mobilenet_v2_x0_5_b").contains("797,752,320"), "703,856,640 and 93,895,680");
    let timed =
        shell.ok("bench pose_dy_mobilenet_v2_x0_35_b --static-twin --image-size 64 --head-width 0.25 --seconds 0.01");
    assert!(timed.contains("pose_mobilenet_v2_x0_35_b"), "{timed}");
}

#[test]
#[cfg(feature = "train")]
fn classes_cannot_train_a_keypoint_network() {
    let shell = Shell::new();
    shell.pictures("photos");
    shell.says(
        "train --data photos --model pose_resnet18_a --out run",
        "`pose_resnet18_a` answers with joints, the data hold images",
    );
}
