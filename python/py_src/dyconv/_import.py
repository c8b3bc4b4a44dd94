"""Networks of other programs become models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._dyconv import import_model
from ._model import Model

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
    if isinstance(image_size, (int, np.integer)):
        image_size = (int(image_size), int(image_size))
    data, report = import_model(
        os.fspath(source),
        arch,
        image_size,
        None if classes is None else _names(classes),
        None if skeleton is None else json.dumps(dict(skeleton)),
        tau,
        to_dynamic,
        json.dumps(dict(preprocessing or {})),
        None if check is None else (_array("check[0]", check[0]), _array("check[1]", check[1])),
    )
    model = Model(data)
    model.report = json.loads(report)
    return model


def _names(classes: Sequence[str] | Path) -> list[str]:
    if not isinstance(classes, (str, os.PathLike)):
        return [str(name) for name in classes]
    with open(classes, encoding="utf-8-sig") as file:
        names = [line.strip() for line in file.read().rstrip().splitlines()]
    if "" in names:
        raise ValueError(f"{os.fspath(classes)}: line {names.index('') + 1} is empty, expected one name per line")
    return names


def _array(name: str, values: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f"{name}: has dtype {values.dtype}, expected float32")
    return np.require(values, dtype=np.float32, requirements=["C", "A"])
