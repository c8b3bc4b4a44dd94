"""Every kind of image gives the same answer; what is no image is named."""

from __future__ import annotations

import io
import json
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image
from samples import picture

import dyconv


def test_every_kind_of_image_gives_the_same_bits(folder, model):
    path = folder / "cat.png"
    data, pixels = path.read_bytes(), picture()
    wide = np.zeros((37, 104, 3), np.uint8)
    wide[:, ::2] = pixels
    read_only = pixels.copy()
    read_only.flags.writeable = False
    alpha = np.dstack([pixels, np.full((37, 52), 7, np.uint8)])
    kinds = [path, str(path), bytearray(data), memoryview(data), data, pixels, read_only, wide[:, ::2], alpha]
    kinds += [Image.open(path), Image.fromarray(pixels), Image.fromarray(alpha), np.asfortranarray(pixels)]
    expected = model.predict(path)
    assert len(expected) == 5 and expected[0].probability >= expected[-1].probability
    assert sum(p.probability for p in expected) == pytest.approx(1.0, abs=1e-5)
    for kind in kinds:
        assert model.predict(kind) == expected, type(kind)
    assert model.predict(kinds) == [expected] * len(kinds)
    assert model.predict([]) == []


def test_grey_pictures_are_read_as_grey(folder, model):
    grey = picture()[:, :, 0]
    path = folder / "grey.png"
    Image.fromarray(grey).save(path)
    expected = model.predict(path)
    for kind in [grey, grey[:, :, None], Image.fromarray(grey), Image.open(path)]:
        assert model.predict(kind) == expected
    deep = Image.fromarray((grey.astype(np.uint16) << 8) | 0x5A)
    deep.save(folder / "deep.png")
    assert model.predict(deep) == model.predict(folder / "deep.png") == expected


def test_palettes_and_orientation_are_read_as_from_the_file(folder, model):
    image = Image.fromarray(picture())
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    palette.save(folder / "palette.png")
    assert model.predict(palette) == model.predict(folder / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.png", exif=exif)
    turned = model.preprocess(folder / "turned.png")
    assert np.array_equal(turned, model.preprocess(Image.open(folder / "turned.png")))
    assert not np.array_equal(turned, model.preprocess(folder / "cat.png"))


def test_answers_are_those_of_the_program(folder, model, program):
    images = [str(folder / name) for name in ["cat.jpg", "cat.png"]]
    run = [program, "predict", str(folder / "model.safetensors"), *images, "--json", "--top", "5"]
    said = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    for image, one in zip(images, said):
        found = [(a["class"], a["index"], np.float32(a["probability"])) for a in one["answers"]]
        assert found == [(p.label, p.index, np.float32(p.probability)) for p in model.predict(image)]


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.zeros((4, 5, 3), np.float32), TypeError, "float32 and shape [4, 5, 3]: expected pixels as uint8"),
        (np.zeros((3, 32, 32), np.uint8), dyconv.ImageError, "transpose(1, 2, 0)"),
        (np.zeros((2, 32, 32, 3), np.uint8), dyconv.ImageError, "as a list"),
        (np.zeros((0, 5, 3), np.uint8), dyconv.ImageError, "[0, 5, 3]"),
        (np.zeros((4, 5, 2), np.uint8), dyconv.ImageError, "[4, 5, 2]"),
        (np.zeros((), np.uint8), dyconv.ImageError, "shape []"),
        (b"", dyconv.ImageError, "the image"),
        (b"GIF89a", dyconv.ImageError, "the image"),
        ("", ValueError, "'' is no path"),
        ("\ud800", ValueError, "no path of a file"),
        ("a\0b", ValueError, "no path of a file"),
        (7, TypeError, "int is no image"),
        (None, TypeError, "NoneType is no image"),
        ({}, TypeError, "dict is no image"),
        (Image.new("F", (5, 5)), dyconv.ImageError, "mode F"),
        ("no such file.jpg", dyconv.ImageError, "no such file.jpg"),
        (pathlib.Path("no such file.jpg"), dyconv.ImageError, "no such file.jpg"),
    ],
)
def test_what_is_no_image_is_named(model, image, error, words):
    with pytest.raises(error) as caught:
        model.predict(image)
    assert words in str(caught.value)


def test_a_bad_image_does_not_cost_the_answers_for_the_others(folder, model):
    good, bad = folder / "cat.jpg", folder / "broken.jpg"
    with pytest.raises(dyconv.ImageError, match=r"image 1: .*broken\.jpg"):
        model.predict([good, bad, good])
    first, error, last = model.predict([good, bad, good], errors="return")
    assert first == last == model.predict(good)
    assert isinstance(error, dyconv.ImageError) and "broken.jpg" in str(error)
    # Whatever Pillow cannot read is an image that cannot be read.
    half = io.BytesIO((folder / "cat.jpg").read_bytes()[:-300])
    closed = Image.open(folder / "cat.png")
    closed.close()
    for broken in [Image.open(half), closed, Image.Image()]:
        error, answer = model.predict([broken, good], errors="return")
        assert isinstance(error, dyconv.ImageError) and "Pillow cannot read" in str(error) and answer == first
    # Another kind of mistake is one of the caller's, not of an image.
    with pytest.raises(TypeError, match="image 1: int is no image"):
        model.predict([good, 7], errors="return")
    with pytest.raises(ValueError, match="errors='ignore'"):
        model.predict([good], errors="ignore")


def test_words_are_those_of_the_program(folder, model, program):
    bad = str(folder / "broken.jpg")
    run = [program, "predict", str(folder / "model.safetensors"), bad, "--json"]
    said = json.loads(subprocess.run(run, capture_output=True, text=True).stdout)[0]["error"]
    with pytest.raises(dyconv.ImageError) as caught:
        model.predict(bad)
    assert str(caught.value) == said


@pytest.mark.parametrize(("top", "error"), [(0, ValueError), (-1, ValueError), (2**64, ValueError), (1.5, TypeError), (True, TypeError)])
def test_top_is_a_number(folder, model, top, error):
    assert len(model.predict(folder / "cat.png", top=2)) == 2
    assert len(model.predict(folder / "cat.png", top=np.int64(99))) == 5
    with pytest.raises(error, match="top="):
        model.predict(folder / "cat.png", top=top)
