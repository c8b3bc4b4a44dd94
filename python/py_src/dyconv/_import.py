"""Networks of other programs become models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._dyconv import import_model
from ._images import file_path
from ._model import Model, whole

Path = Union[str, "os.PathLike[str]"]


def import_(
    source: Path,
    *,
    arch: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    classes: Sequence[str] | Path | None = None,
    skeleton: Mapping[str, Any] | None = None,
    tau: float | None = None,
    to_dynamic: int | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    check: tuple[ArrayLike, ArrayLike] | None = None,
) -> Model:
    """Imports a network from PyTorch, timm, torchvision, the Hugging Face hub or ONNX, as `dyconv import` does.

    source: a state dict (`.safetensors`, `.pth`, `.pt`, `.bin`; whole modules too, and no code in it is run), a hub folder,
        `hub:OWNER/NAME` in the local Hugging Face cache, or an ONNX file.
    arch: name of the architecture of a state dict; by default recognized by its tensors.
    image_size: height and width of the input in pixels; by default what the source says, else that of `check`, else 224.
    classes: names of the classes in the order of the outputs, or a file with one name per line; by default what the source
        says, else numbers.
    skeleton: keypoints, as a mapping with the keys of the TOML file of `dyconv new`; by default COCO's for 17 heat maps.
    tau: temperature of the routers' softmax; by default what the source says, else 1.
    to_dynamic: make convolutions dynamic with so many kernels each; the answers stay the same until it is trained.
    preprocessing: keys that say otherwise than the source, such as `{"interpolation": "bicubic"}`.
    check: inputs `[N, C, H, W]` and the answers of the original network to compare with.

    Returns the model, ready to run; `report` says what was found and how far the answers differ. Raises
    `FileNotFoundError`, or `Error` if the source does not fit, or if the answers differ by more than 1e-3 of the largest.

    >>> dyconv.import_("resnet18.pth", arch="resnet18").save("r18.safetensors")
    """
    if image_size is not None:
        sides = (image_size, image_size) if isinstance(image_size, (int, np.integer)) else tuple(image_size)
        if len(sides) != 2:
            raise ValueError(f"image_size={image_size!r}: expected one number, or height and width")
        image_size = (whole("image_size", sides[0]), whole("image_size", sides[1]))
    if tau is not None and (isinstance(tau, bool) or not 0 < tau < 3.4e38):
        raise ValueError(f"tau={tau!r}: expected a positive number")
    data, report = import_model(
        file_path(source),
        arch,
        image_size,
        None if classes is None else _names(classes),
        None if skeleton is None else _json("skeleton", skeleton),
        tau,
        None if to_dynamic is None else whole("to_dynamic", to_dynamic),
        _json("preprocessing", preprocessing or {}),
        None if check is None else (_array("check[0]", check[0]), _array("check[1]", check[1])),
    )
    model = Model(data)
    model.report = json.loads(report)
    return model


def _names(classes: Sequence[str] | Path) -> list[str]:
    if not isinstance(classes, (str, os.PathLike)):
        names = list(classes)
        if isinstance(classes, (bytes, set, frozenset, Mapping)) or not all(isinstance(name, str) for name in names):
            raise TypeError("classes: expected a list of names, in the order of the outputs, or a file with one per line")
        return names
    with open(classes, encoding="utf-8-sig") as file:
        names = [line.strip() for line in file.read().rstrip().splitlines()]
    if "" in names:
        raise ValueError(f"{os.fspath(classes)}: line {names.index('') + 1} is empty, expected one name per line")
    return names


def _json(name: str, values: Mapping[str, Any]) -> str:
    if not isinstance(values, Mapping):
        raise TypeError(f"{name}: expected a dictionary, got {type(values).__name__}")
    try:
        # Arrays and numbers of numpy have a form as Python's.
        return json.dumps(dict(values), allow_nan=False, default=lambda value: value.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _array(name: str, values: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f"{name}: has dtype {values.dtype}, expected float32")
    return np.require(values, dtype=np.float32, requirements=["C", "A"])
