"""Times `Model.predict(path)` against Pillow, torchvision's transforms and onnxruntime, from a JPEG to the best class.

    python bench/predict.py [IMAGE]

Both run the same networks with the same random weights, with one thread, in turns; the medians are printed, and how far the
answers differ. Without an image, it is a JPEG of 640 × 480 pixels that is drawn here.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

import dyconv

NETWORKS = ["mobilenet_v2", "resnet18"]
RUNS = 100


def draw(path: Path) -> None:
    """A photograph as far as a decoder is concerned: smooth areas, edges and noise."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:480, 0:640]
    areas = np.stack([np.sin(x / a + np.sin(y / b) * 2) for a, b in random.uniform(20, 120, (3, 2))], axis=-1)
    edges = np.where(np.sin(x / 31 + y / 47) > 0.3, 40, 0)[..., None]
    noise = random.normal(0, 6, (480, 640, 3))
    Image.fromarray(np.clip(110 + 70 * areas + edges + noise, 0, 255).astype(np.uint8)).save(path, quality=90)


def write(name: str, path: Path) -> None:
    """An ONNX file of a network of torchvision, whose batch norms fit its random weights."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(name)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 224, 224))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=False, opset_version=17)


def theirs(onnx: Path) -> Callable[[str], NDArray[np.float32]]:
    """The logits for an image by Pillow, torchvision and onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    prepare = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(mean, std)]
    )

    def run(path: str) -> NDArray[np.float32]:
        input = prepare(Image.open(path).convert("RGB"))[None].numpy()
        logits: NDArray[np.float32] = session.run(None, {name: input})[0][0]
        return logits

    return run


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def compare(name: str, image: str, folder: Path) -> None:
    write(name, folder / f"{name}.onnx")
    model = dyconv.import_(folder / f"{name}.onnx")
    model.save(folder / f"{name}.safetensors")
    model = dyconv.load(folder / f"{name}.safetensors", threads=1)
    other = theirs(folder / f"{name}.onnx")
    expected = other(image)
    found = model.logits(model.preprocess(image)[None])[0]
    apart = np.abs(found - expected).max() / np.abs(expected).max()
    # What bilinear filters of two libraries differ by, after all layers.
    assert apart < 0.05, f"{name}: the answers differ by {apart:.3f} of the largest"
    times: list[tuple[float, float]] = []
    for _ in range(RUNS + 5):
        ours = milliseconds(lambda: model.predict(image, top=1))
        times.append((ours, milliseconds(lambda: int(other(image).argmax()))))
    ours, rival = (statistics.median(column) for column in zip(*times[5:]))
    same = "same class" if model.predict(image, top=1)[0].index == int(expected.argmax()) else "another class"
    print(f"{name:14} {ours:9.2f} ms {rival:15.2f} ms {rival / ours:9.2f}   {same}, logits differ by {apart:.1e} of the largest")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "drawn.jpg"
        draw(image)
        path = sys.argv[1] if len(sys.argv) > 1 else str(image)
        width, height = Image.open(path).size
        print(f"{width} × {height} pixels, {os.path.getsize(path) / 1e3:.0f} kB, one thread, medians of {RUNS}")
        print(f"{'':14} {'predict':>12} {'Pillow + ort':>18} {'ratio':>9}")
        for name in NETWORKS:
            compare(name, path, Path(folder))


if __name__ == "__main__":
    main()
