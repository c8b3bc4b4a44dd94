"""What a model says about itself, attention, keypoints, options."""

from __future__ import annotations

import copy
import json
import os
import subprocess

import numpy as np
import pytest
from samples import GOLDEN

import dyconv


def test_a_model_says_what_it_is(folder, model, pose):
    assert model.input_shape == (3, 32, 32) and model.input_size == (32, 32)
    assert model.output_shape == (5,) and model.classes == ["cat", "dog", "fish", "owl", "fox"] and model.joints == []
    assert model.tau == 4.0 and model.bank == "f32" and model.threads == 1 and model.architecture == "dy_rn4_x0_5"
    assert model.preprocessing["image_size"] == [32, 32] and model.preprocessing["crop"] == "center"
    assert pose.output_shape == (17, 16, 12) and pose.joints[0] == "nose" and pose.classes == []
    assert repr(model) == "<dyconv.Model dy_rn4_x0_5: 3 × 32 × 32 → 5 classes, bank f32, threads 1>"
    assert "17 joints" in repr(pose)


def test_the_cost_is_that_of_the_program(folder, model, program):
    run = [program, "cost", str(folder / "model.safetensors"), "--json"]
    said = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    cost = model.cost()
    assert (cost.params, cost.attention_params) == (said["params"], said["attention_params"])
    madds = said["madds"]
    expected = (madds["total"], madds["convolution"], madds["attention"], madds["mixing"], madds["pooling"])
    assert (cost.madds, cost.convolution, cost.attention, cost.mixing, cost.pooling) == expected
    assert cost.dynamic_layers > 0


def test_attention_sums_to_one(folder, model, pose):
    found = model.attention(folder / "cat.jpg")
    assert len(found) == model.cost().dynamic_layers
    for layer, pi in found.items():
        assert pi.dtype == np.float32 and pi.ndim == 1 and (pi > 0).all(), layer
        assert pi.sum() == pytest.approx(1.0, abs=1e-5)
    assert pose.attention(folder / "cat.jpg") == {}


def test_keypoints_are_those_of_the_program(folder, pose, program):
    image, box = folder / "cat.jpg", [10.0, 5.5, 20.0, 25.0]
    run = [program, "predict", str(folder / "pose.safetensors"), str(image), "--json"]
    said = json.loads(subprocess.run([*run, "--box", "10,5.5,20,25"], check=True, capture_output=True).stdout)
    expected = [(j["joint"], j["x"], j["y"], np.float32(j["score"])) for j in said[0]["poses"][0]["joints"]]
    (found,) = pose.keypoints(image, boxes=[box])
    assert [(k.name, k.x, k.y, np.float32(k.score)) for k in found] == expected
    several = pose.keypoints(image, boxes=np.array([box, [0, 0, 52, 37]]))
    assert several == [found, pose.keypoints(image)[0]]
    assert pose.keypoints(image, boxes=[]) == []
    assert pose.logits(pose.preprocess(image, box)[None]).shape == (1, 17, 16, 12)


def test_the_flip_test_is_that_of_the_program(folder, program):
    image, file = folder / "cat.jpg", folder / "pose.safetensors"
    run = [program, "predict", str(file), str(image), "--json", "--flip"]
    said = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)
    expected = [(j["x"], j["y"]) for j in said[0]["poses"][0]["joints"]]
    flipped = dyconv.load(file, flip=True, threads=1)
    assert [(k.x, k.y) for k in flipped.keypoints(image)[0]] == expected


@pytest.mark.parametrize("box", ["1234", [1e400, 0, 1, 1], [10**400, 0, 1, 1], [1, 2, 3], [0, 0, 0, 5], [0, 0, float("nan"), 5], ["a", 0, 1, 1], 7, [0, 0, 5, float("inf")]])
def test_a_box_that_is_none_is_named(folder, pose, box):
    with pytest.raises(ValueError, match="the box"):
        pose.keypoints(folder / "cat.jpg", boxes=[box])


def test_the_wrong_question_is_answered_with_the_right_one(folder, model, pose):
    with pytest.raises(dyconv.Error, match=r"17 joints, not with classes: it is a keypoint network; ask it for keypoints\(\)"):
        pose.predict(folder / "cat.jpg")
    with pytest.raises(dyconv.Error, match=r"5 classes, not with joints: it is a classifier; ask it to predict\(\)"):
        model.keypoints(folder / "cat.jpg")
    for ask in [model.attention, model.preprocess]:
        with pytest.raises(ValueError, match="box"):
            ask(folder / "cat.jpg", [0, 0, 5, 5])
    with pytest.raises(ValueError, match="flip"):
        dyconv.load(folder / "model.safetensors", flip=True)


def test_models_come_from_paths_and_bytes(folder, model, tmp_path):
    path = folder / "model.safetensors"
    for source in [path, str(path), path.read_bytes()]:
        one = dyconv.load(source, threads=1)
        assert one.predict(folder / "cat.jpg") == model.predict(folder / "cat.jpg")
        one.save(tmp_path / "copy.safetensors")
        assert (tmp_path / "copy.safetensors").read_bytes() == path.read_bytes()


def test_what_is_saved_over_stays_what_it_is(folder, model, tmp_path):
    kept = tmp_path / "kept.safetensors"
    kept.write_bytes(b"old")
    kept.chmod(0o600)
    (tmp_path / "link.safetensors").symlink_to("kept.safetensors")
    model.save(tmp_path / "link.safetensors")
    assert kept.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (tmp_path / "link.safetensors").is_symlink() and kept.stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    for write in [model.save, model.to_onnx, model.to_torch]:
        for target, words in [("pipe", "is a pipe or a device"), (".", "is a folder|file name")]:
            with pytest.raises(dyconv.Error, match=words):
                write(tmp_path / target)
        with pytest.raises(ValueError, match="no path"):
            write("")
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(dyconv.Error, match="is a pipe or a device"):
        dyconv.import_(tmp_path / "pipe")


def test_copies_are_the_model_itself(model):
    assert copy.copy(model) is model and copy.deepcopy(model) is model


def test_banks_and_threads(folder, model):
    x = np.random.default_rng(0).standard_normal((3, *model.input_shape), np.float32)
    exact = model.logits(x)
    for threads in [2, 3]:
        assert np.array_equal(dyconv.load(folder / "model.safetensors", threads=threads).logits(x), exact)
    for bank in ["bf16", "int8"]:
        small = dyconv.load(folder / "model.safetensors", bank=bank)
        found = small.logits(x)
        assert small.bank == bank and 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
    assert dyconv.load(folder / "model.safetensors", bank="auto").bank in ("f32", "bf16", "int8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": 0}, "threads=0: expected a whole number above 0"),
        ({"threads": -1}, "threads=-1: expected"),
        ({"threads": 2**64}, "below 2"),
        ({"threads": 100_000}, "from 1 to 1024"),
        ({"bank": "fp16"}, "expected one of f32, bf16, int8, auto"),
    ],
)
def test_options_are_checked(folder, options, words):
    with pytest.raises(ValueError, match=words):
        dyconv.load(folder / "model.safetensors", **options)


def test_files_that_are_no_models(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.safetensors"):
        dyconv.load(tmp_path / "missing.safetensors")
    with pytest.raises(TypeError, match="int is no model"):
        dyconv.load(7)
    with pytest.raises(dyconv.Error, match=r"dyconv\.import_\(\)"):
        dyconv.load(GOLDEN / "torch/rn4.pth")
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in [b"", b"\0", whole[:100], whole[:-1], b"\xff" * 64]:
        (tmp_path / "damaged.safetensors").write_bytes(damaged)
        with pytest.raises(dyconv.Error, match="damaged.safetensors"):
            dyconv.load(tmp_path / "damaged.safetensors")
        with pytest.raises(dyconv.Error, match="the bytes of the model"):
            dyconv.load(damaged)


def test_everything_public_is_explained():
    assert "dyconv.load" in dyconv.__doc__
    for name in set(dyconv.__all__) - {"Image", "__version__"}:
        assert len(getattr(dyconv, name).__doc__) > 20, name
    for name in [name for name in vars(dyconv.Model) if not name.startswith("_")]:
        assert len(getattr(dyconv.Model, name).__doc__) > 40, name
