"""Import and export."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from samples import GOLDEN, needs

import dyconv


def golden(name):
    return GOLDEN / "torch" / f"{name}.pth", np.load(GOLDEN / "torch/pictures.npy"), np.load(GOLDEN / "torch" / f"{name}.out.npy")


@pytest.mark.parametrize(("name", "tau"), [("rn4", None), ("dy_rn4_golden", 4.0), ("dy_rn4_tardelean", 10.0)])
def test_state_dicts_come_in(name, tau):
    path, x, y = golden(name)
    model = dyconv.import_(path, tau=tau, check=(x, y))
    assert model.report["check"]["largest_relative_difference"] < 1e-5
    assert model.report["kind"] == "state dict" and model.report["tensors"]["missing"] == []
    assert np.abs(model.logits(x) - y).max() <= 1e-5 * np.abs(y).max()
    assert model.input_size == x.shape[2:]


@pytest.mark.parametrize("name", ["tv_mobilenet_v2-dynamo", "timm_regnety-torchscript", "golden_matmul_b2-dynamo"])
def test_onnx_files_come_in(name):
    inputs = dict(line.split()[:2] for line in (GOLDEN / "onnx/LIST").read_text().splitlines())
    x = np.load(GOLDEN / "onnx" / inputs[f"{name}.onnx"])
    y = np.load(GOLDEN / "onnx" / f"{name.rsplit('-')[0]}.out.npy")
    model = dyconv.import_(GOLDEN / "onnx" / f"{name}.onnx", check=(x, y))
    assert model.report["check"]["largest_relative_difference"] < 1e-4


def test_the_report_is_that_of_the_program(tmp_path, program):
    path, x, y = golden("rn4")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    run = [program, "import", str(path), "--out", str(tmp_path / "m.safetensors"), "--json", "--check"]
    said = json.loads(subprocess.run([*run, str(tmp_path / "x.npy"), str(tmp_path / "y.npy")], check=True, capture_output=True).stdout)
    model = dyconv.import_(path, check=(x, y))
    del said["out"], said["written"]
    said["check"]["expected"] = model.report["check"]["expected"]
    # The program adds its flags to the notes.
    notes, ours = said["tensors"].pop("notes"), dict(model.report, tensors=dict(model.report["tensors"]))
    assert all(one.startswith(note) for one, note in zip(notes, ours["tensors"].pop("notes"), strict=True))
    assert ours == said
    model.save(tmp_path / "ours.safetensors")
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_options_of_an_import(tmp_path):
    path, x, _ = golden("rn4")
    (tmp_path / "names.txt").write_text("\ufeffa\nb\nc \r\nd é\ne\n\n", encoding="utf-8")
    model = dyconv.import_(
        path, arch="rn4_x0_5", image_size=(48, 40), classes=tmp_path / "names.txt", preprocessing={"interpolation": "bicubic", "resize": 50}
    )
    assert model.classes == ["a", "b", "c", "d é", "e"] and model.input_size == (48, 40)
    assert model.preprocessing["interpolation"] == "bicubic" and model.preprocessing["resize"] == 50
    plain = dyconv.import_(path, image_size=32)
    dynamic = dyconv.import_(path, image_size=32, to_dynamic=3)
    assert dynamic.cost().dynamic_layers > 0 and plain.cost().dynamic_layers == 0
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    assert np.allclose(dynamic.logits(x), plain.logits(x), rtol=0, atol=1e-5 * np.abs(plain.logits(x)).max())


def test_imports_that_do_not_fit_are_explained(tmp_path):
    path, x, y = golden("rn4")
    with pytest.raises(FileNotFoundError, match="missing.pth"):
        dyconv.import_(tmp_path / "missing.pth")
    with pytest.raises(dyconv.Error, match="differ|answer"):
        dyconv.import_(path, check=(x, y + 1))
    with pytest.raises(dyconv.Error, match=r"3|outputs"):
        dyconv.import_(path, classes=["only one"])
    with pytest.raises(dyconv.Error, match="colour"):
        dyconv.import_(path, preprocessing={"colour": "blue"})
    with pytest.raises(dyconv.Error, match=r"image_size="):
        dyconv.import_(path, preprocessing={"image_size": [8, 8]})
    with pytest.raises(dyconv.Error, match="leave arch out"):
        dyconv.import_(GOLDEN / "onnx/tv_vgg-dynamo.onnx", arch="vgg")
    with pytest.raises(dyconv.Error, match="shape"):
        dyconv.import_(path, check=(x[0], y))
    with pytest.raises(TypeError, match=r"check\[1\]"):
        dyconv.import_(path, check=(x, y.astype(int)))
    for classes in [b"abcde", {"a", "b"}, [None] * 5, [1, 2, 3, 4, 5]]:
        with pytest.raises(TypeError, match="classes: expected a list of names"):
            dyconv.import_(path, classes=classes)
    for options in [{"tau": 0}, {"tau": -1}, {"tau": 10**400}, {"image_size": 0}, {"image_size": (1, 2, 3)}, {"to_dynamic": -1}]:
        with pytest.raises(ValueError, match=next(iter(options))):
            dyconv.import_(path, **options)
    for wrong in ["bicubic", {"mean": object()}, {"mean": float("nan")}]:
        with pytest.raises((TypeError, ValueError, AttributeError), match="preprocessing: "):
            dyconv.import_(path, preprocessing=wrong)
    assert dyconv.import_(path, preprocessing={"mean": np.zeros(3)}).preprocessing["mean"] == [0, 0, 0]
    for refused in ["refused_foreign_global.pth", "refused_nan.safetensors", "refused_int8.pth"]:
        with pytest.raises(dyconv.Error, match=refused.split(".")[0]):
            dyconv.import_(GOLDEN / "torch" / refused)


def test_models_go_out_to_onnx_and_come_back(folder, model, tmp_path):
    onnxruntime = needs("onnxruntime")
    x = np.random.default_rng(0).standard_normal((3, *model.input_shape), np.float32)
    report = model.to_onnx(tmp_path / "free.onnx")
    assert report["form"] == "portable" and [check["batch"] for check in report["checks"]] == [1, 3]
    session = onnxruntime.InferenceSession(str(tmp_path / "free.onnx"))
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x})
    ours = model.logits(x)
    assert np.abs(theirs - ours).max() <= 1e-4 * np.abs(ours).max()
    back = dyconv.import_(tmp_path / "free.onnx", check=(x, ours))
    assert back.classes == model.classes and back.preprocessing == model.preprocessing
    assert back.predict(folder / "cat.jpg")[0].label == model.predict(folder / "cat.jpg")[0].label
    assert model.to_onnx(tmp_path / "exact.onnx", form="exact")["batch"] == 1
    with_bytes = model.to_onnx(tmp_path / "bytes.onnx", batch=2, with_preprocessing=True)
    assert with_bytes["batch"] == 2


def test_frozen_attention_is_the_mean_over_images(folder, model, tmp_path):
    images = [folder / "cat.jpg", folder / "cat.png"]
    assert model.to_onnx(tmp_path / "frozen.onnx", form="frozen", images=images)["form"] == "frozen"
    assert dyconv.import_(tmp_path / "frozen.onnx").cost().dynamic_layers == 0
    for options in [{"form": "frozen"}, {"form": "frozen", "images": []}, {"images": images}, {"form": "odd"}]:
        with pytest.raises(ValueError, match="images|form"):
            model.to_onnx(tmp_path / "no.onnx", **options)
    assert not (tmp_path / "no.onnx").exists()
    with pytest.raises(TypeError, match="expected several images"):
        model.to_onnx(tmp_path / "no.onnx", form="frozen", images=str(folder / "cat.jpg"))


def test_models_go_out_to_pytorch_and_come_back(model, tmp_path):
    x = np.random.default_rng(0).standard_normal((2, *model.input_shape), np.float32)
    assert model.to_torch(tmp_path / "dict.safetensors")["names"] == "torchvision"
    back = dyconv.import_(tmp_path / "dict.safetensors", image_size=32)
    assert np.array_equal(back.logits(x), model.logits(x))
    assert not any("temperature" in note for note in back.report["tensors"]["notes"] if "assumed" in note)
    with pytest.raises(ValueError, match="names="):
        model.to_torch(tmp_path / "no.safetensors", names="keras")
    model.to_hub(tmp_path / "hub")
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert dyconv.import_(tmp_path / "hub").tau == model.tau == 4.0
    with pytest.raises(dyconv.Error, match="hub"):
        model.to_hub(tmp_path / "hub")
