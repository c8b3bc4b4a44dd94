"""Models and pictures for the tests."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dyconv

REPO = Path(__file__).resolve().parents[2]
GOLDEN = REPO / "golden"


def needs(module: str) -> ModuleType:
    """A module that not everybody has installed. CI has all of them, and skips nothing."""
    if "DYCONV_TEST_ALL" in os.environ:
        return importlib.import_module(module)
    return pytest.importorskip(module)


def picture(height: int = 37, width: int = 52, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / random.uniform(3, 9) + y / random.uniform(3, 9) + random.uniform(0, 6)) for _ in range(3)]
    return (127 + 90 * np.stack(waves, axis=-1) + random.uniform(-30, 30, (height, width, 3))).astype(np.uint8)


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
