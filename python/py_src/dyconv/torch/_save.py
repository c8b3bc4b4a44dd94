"""Writes a module as a model file."""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._import import import_
from .._model import Model
from ._input import Size, images

# Images with which the model file is compared with the module.
CHECKED = 2
# The version of ONNX's operators, as `dyconv export` writes it.
OPSET = 17


def save(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    input_size: Size,
    classes: Sequence[str] | str | os.PathLike[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    skeleton: Mapping[str, Any] | None = None,
) -> Model:
    """Writes a model file of dyconv from a module of one image, in evaluation mode, and returns the model.

    The module goes through ONNX, so any network that `dyconv import` understands will do; a `DynamicConv2d`
    stays a dynamic convolution, and the temperature comes along. The model is compared with the module on
    random images, and `report` of the result says how far the answers differ. The module itself is not
    changed; it may be on any device.

    Args:
        path: the file to write.
        input_size: height and width of the images in pixels, one number if they are equal.
        classes: names of the classes in the order of the outputs, or a file with one per line; without it,
            numbers.
        preprocessing: keys that differ from ImageNet's preprocessing, such as `{"mean": [0.5] * 3}`.
        skeleton: keypoint networks: keypoints, as for `dyconv.import_`.

    Raises:
        dyconv.Error: if there is an operation that dyconv does not have, or the answers differ.
        ImportError: if the package `onnx` is missing, which PyTorch needs to export.
        RuntimeError: if the module cannot run, or be exported, with images of this size.
    """
    module = copy.deepcopy(getattr(model, "_orig_mod", model)).cpu().float().eval()
    x = images(module, CHECKED, input_size)
    with torch.no_grad():
        y: torch.Tensor = module(x)
    with tempfile.TemporaryDirectory(prefix="dyconv-") as folder:
        onnx = Path(folder) / f"{type(module).__name__.lower()}.onnx"
        _export(module, x, onnx)
        check = (x.numpy(), y.numpy())
        result = import_(onnx, classes=classes, preprocessing=preprocessing, skeleton=skeleton, check=check)
    result.save(path)
    return result


def _export(module: nn.Module, x: torch.Tensor, path: Path) -> None:
    """Writes an ONNX file with a free batch, by the exporter on TorchScript: the other takes far longer.

    Raises:
        ImportError: if a package is missing.
        RuntimeError: if PyTorch cannot export the module.
    """
    if find_spec("onnx") is None:
        raise ImportError("dyconv.torch.save needs onnx, which is not installed: `pip install onnx`")
    batch = {"input": {0: "batch"}, "output": {0: "batch"}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (x,),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_axes=batch,
            )
    except Exception as error:
        raise RuntimeError(
            f"PyTorch cannot export {type(module).__name__} to ONNX: {str(error).partition('[Caused by')[0]}"
        ) from error
