"""Models and images for the tests. `dyconv` is the installed package, never the sources beside this folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dyconv

REPO = Path(__file__).resolve().parents[2]
GOLDEN = REPO / "golden"

assert REPO / "python" not in Path(dyconv.__file__).resolve().parents, "the sources are tested, not the installed package"


def picture(height: int = 37, width: int = 52, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / random.uniform(3, 9) + y / random.uniform(3, 9) + random.uniform(0, 6)) for _ in range(3)]
    return (127 + 90 * np.stack(waves, axis=-1) + random.uniform(-30, 30, (height, width, 3))).astype(np.uint8)


@pytest.fixture(scope="session")
def program() -> str:
    """The program `dyconv` of the same sources; CI says where it is."""
    found = os.environ.get("DYCONV_BIN", str(REPO / "target/debug/dyconv"))
    assert Path(found).is_file(), f"{found}: build the program first, or name it in DYCONV_BIN"
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.safetensors` (dynamic, 4 classes), `pose.safetensors` (17 joints), `cat.png`, `cat.jpg`, `broken.jpg`."""
    folder = tmp_path_factory.mktemp("files")
    names = ["cat", "dog", "fish", "owl"]
    model = dyconv.import_(GOLDEN / "torch/dy_rn4_golden.pth", tau=4.0, image_size=32, classes=names[: classes()])
    model.save(folder / "model.safetensors")
    Image.fromarray(picture()).save(folder / "cat.png")
    Image.fromarray(picture()).save(folder / "cat.jpg")
    (folder / "broken.jpg").write_bytes((folder / "cat.jpg").read_bytes()[:300])
    write_pose(folder)
    return folder


def classes() -> int:
    """Number of outputs of the golden networks."""
    return int(np.load(GOLDEN / "torch/rn4.out.npy").shape[1])


def write_pose(folder: Path) -> None:
    """A keypoint network of one convolution: 64 × 48 pixels in, 17 maps of 16 × 12 out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(1).normal(0, 0.1, (17, 3, 4, 4)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[4, 4])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "pose",
        [value("x", TensorProto.FLOAT, ["n", 3, 64, 48])],
        [value("y", TensorProto.FLOAT, ["n", 17, 16, 12])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "pose.onnx"))
    dyconv.import_(folder / "pose.onnx").save(folder / "pose.safetensors")


@pytest.fixture(scope="session")
def model(folder: Path) -> dyconv.Model:
    return dyconv.load(folder / "model.safetensors", threads=1)


@pytest.fixture(scope="session")
def pose(folder: Path) -> dyconv.Model:
    return dyconv.load(folder / "pose.safetensors", threads=1)
