"""Models and images for the tests. `dyconv` is the installed package, never the sources beside this folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from samples import GOLDEN, REPO, picture, write_pose

import dyconv

assert REPO / "python" not in Path(dyconv.__file__).resolve().parents, "the sources are tested, not the installed package"


@pytest.fixture(scope="session")
def program() -> str:
    """The program `dyconv` of the same sources; CI says where it is."""
    found = os.environ.get("DYCONV_BIN", str(REPO / "target/debug/dyconv"))
    assert Path(found).is_file(), f"{found}: build the program first, or name it in DYCONV_BIN"
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.safetensors` (dynamic, 5 classes), `pose.safetensors` (17 joints), `cat.png`, `cat.jpg`, `broken.jpg`."""
    folder = tmp_path_factory.mktemp("files")
    names = ["cat", "dog", "fish", "owl", "fox"]
    model = dyconv.import_(GOLDEN / "torch/dy_rn4_golden.pth", tau=4.0, image_size=32, classes=names)
    model.save(folder / "model.safetensors")
    Image.fromarray(picture()).save(folder / "cat.png")
    Image.fromarray(picture()).save(folder / "cat.jpg")
    (folder / "broken.jpg").write_bytes((folder / "cat.jpg").read_bytes()[:300])
    write_pose(folder)
    return folder


@pytest.fixture(scope="session")
def model(folder: Path) -> dyconv.Model:
    return dyconv.load(folder / "model.safetensors", threads=1)


@pytest.fixture(scope="session")
def pose(folder: Path) -> dyconv.Model:
    return dyconv.load(folder / "pose.safetensors", threads=1)
