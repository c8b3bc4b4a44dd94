"""Times `Model.predict(path)` against Pillow, torchvision's transforms and onnxruntime, from a JPEG to the best class.

    python bench/predict.py [IMAGE]

Both run the same networks with the same random weights, with one thread, in turns; the medians are printed. The inputs of the
networks may differ by the rounding of two decoders and two filters, the answers for one input by that of sums. Without an image,
it is a JPEG of 640 × 480 pixels that is drawn here.
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
# Of ImageNet.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


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


class Theirs:
    """Pillow, torchvision and onnxruntime, each with one thread."""

    def __init__(self, onnx: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        resize, crop, normalize = transforms.Resize(256), transforms.CenterCrop(224), transforms.Normalize(MEAN, STD)
        self.transforms = transforms.Compose([resize, crop, transforms.ToTensor(), normalize])

    def preprocess(self, path: str) -> NDArray[np.float32]:
        x: NDArray[np.float32] = self.transforms(Image.open(path).convert("RGB")).numpy()
        return x

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y: NDArray[np.float32] = self.session.run(None, {self.input: x})[0]
        return y

    def predict(self, path: str) -> int:
        return int(self.logits(self.preprocess(path)[None]).argmax())


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def compare(name: str, image: str, folder: Path) -> None:
    write(name, folder / f"{name}.onnx")
    model = dyconv.import_(folder / f"{name}.onnx")
    model.save(folder / f"{name}.safetensors")
    model = dyconv.load(folder / f"{name}.safetensors", threads=1)
    other = Theirs(folder / f"{name}.onnx")
    x = other.preprocess(image)
    levels = float((np.abs(model.preprocess(image) - x).max(axis=(1, 2)) * STD * 255).max())
    assert levels < 4.5, f"{name}: the inputs differ by {levels:.1f} levels of 255"
    ours, expected = model.logits(x[None]), other.logits(x[None])
    apart = float(np.abs(ours - expected).max() / np.abs(expected).max())
    assert apart < 1e-4 and ours.argmax() == expected.argmax(), f"{name}: the answers differ by {apart:.1e} of the largest"
    times = []
    for _ in range(RUNS + 5):
        fast = milliseconds(lambda: model.predict(image, top=1))
        times.append((fast, milliseconds(lambda: other.predict(image))))
    fast, slow = (statistics.median(column) for column in zip(*times[5:]))
    print(f"{name:14}{fast:9.2f} ms{slow:15.2f} ms{slow / fast:9.2f}   inputs within {levels:.1f} levels, answers within {apart:.0e}")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "drawn.jpg"
        draw(image)
        path = sys.argv[1] if len(sys.argv) > 1 else str(image)
        width, height = Image.open(path).size
        print(f"{width} × {height} pixels, {os.path.getsize(path) / 1e3:.0f} kB, one thread, medians of {RUNS}")
        print(f"{'':14}{'dyconv':>12}{'onnxruntime':>18}{'ratio':>9}")
        for name in NETWORKS:
            compare(name, path, Path(folder))


if __name__ == "__main__":
    main()
