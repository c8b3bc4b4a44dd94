"""Times what `Model.logits` adds to the engine's own work: at most 20 µs.

The network is so small that the engine has nothing to do: one 1×1 convolution and a mean over 4 × 4 pixels. So the time of a
call is all that Python, the binding and the start of a run take, and an upper bound of what is added.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import dyconv

BAR = 20.0
CALLS, ROUNDS = 2000, 25


def tiny(path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "tiny", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def microseconds(work: Callable[[], object]) -> float:
    """Of one call, median of rounds."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            work()
        rounds.append((time.perf_counter() - start) / CALLS * 1e6)
    return statistics.median(rounds)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tiny(Path(folder) / "tiny.onnx")
        path = Path(folder) / "tiny.safetensors"
        dyconv.import_(Path(folder) / "tiny.onnx").save(path)
        model = dyconv.load(path, threads=1)
    x = np.ones((1, 3, 4, 4), np.float32)
    whole, compiled = microseconds(lambda: model.logits(x)), microseconds(lambda: model._core.logits(x))
    print(f"logits(): {whole:.1f} µs a call, of which the compiled part {compiled:.1f} µs; at most {BAR:.0f} µs are added")


if __name__ == "__main__":
    main()
