"""Every block of docs/python.md, in its order: it runs, prints what the page says, and its types are right."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from samples import GOLDEN, REPO, picture

import dyconv

PAGE = REPO / "docs/python.md"
NAMES = ["fox", "dog", "cat", "hare", "owl"]


class Block(NamedTuple):
    line: int
    # What it needs besides Pillow: `torch` or `ray`.
    needs: str
    code: str
    # What it prints; None if the page does not say.
    output: str | None


def blocks() -> list[Block]:
    text = PAGE.read_text("utf-8")
    found = re.finditer(r"^```python ?(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    return [Block(text.count("\n", 0, m.start()) + 2, m[1], m[2], m[3]) for m in found]


def same(said: str, page: str) -> bool:
    """Whether two texts agree; fractions may differ by one in the last place, which another CPU may round otherwise."""
    fraction = r"\d+\.(\d+)"
    numbers = zip(re.finditer(fraction, said), re.finditer(fraction, page))
    near = all(abs(float(a[0]) - float(b[0])) < 1.5 * 10 ** -len(b[1]) for a, b in numbers)
    return near and re.sub(fraction, "", said) == re.sub(fraction, "", page)


def there(name: str) -> bool:
    """Whether a block can run; with DYCONV_TEST_ALL every block must."""
    return name == "" or "DYCONV_TEST_ALL" in os.environ or importlib.util.find_spec(name) is not None


@pytest.fixture
def files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of the page, in the current folder; those of PyTorch are golden."""
    for source, target in [("rn4.pth", "net.pth"), ("pictures.npy", "x.npy"), ("rn4.out.npy", "y.npy")]:
        shutil.copy(GOLDEN / "torch" / source, tmp_path / target)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n")
    golden = dyconv.import_(GOLDEN / "torch/dy_rn4_golden.pth", tau=4.0, image_size=32, classes=NAMES)
    golden.save(tmp_path / "model.safetensors")
    shutil.copy(folder / "pose.safetensors", tmp_path)
    for name, seed in [("cat.jpg", 8), ("street.jpg", 17)]:
        Image.fromarray(picture(120, 160, seed)).save(tmp_path / name, quality=95)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "cat.jpg").read_bytes()[:500])
    (tmp_path / "photos").mkdir()
    for name in ["cat.jpg", "street.jpg", "broken.jpg"]:
        shutil.copy(tmp_path / name, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ray(files: None) -> Iterator[None]:
    """Ray on two cores, if it is there. Its workers start in the current folder."""
    if not there("ray"):
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    importlib.import_module("ray.data").DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def test_every_block_prints_what_the_page_says(files, ray):
    page, names = blocks(), {"__name__": "page"}
    assert len(page) == PAGE.read_text("utf-8").count("```python") > 15
    assert sum(block.output is not None for block in page) > 10
    wrong = []
    for block in page:
        if not there(block.needs):
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile("\n" * (block.line - 1) + block.code, str(PAGE), "exec", dont_inherit=True), names)
        if not same(said.getvalue(), block.output or ""):
            wrong.append(f"line {block.line} prints\n{said.getvalue()}\nand the page says\n{block.output}")
    assert not wrong, "\n".join(wrong)


def test_the_blocks_have_the_right_types(tmp_path):
    """Those without PyTorch and Ray, which do not say all their types."""
    code = "\n".join(block.code for block in blocks() if not block.needs)
    (tmp_path / "page.py").write_text(code, "utf-8")
    run = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "page.py"]
    checked = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
