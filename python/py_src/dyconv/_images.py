"""Images of any kind, brought to the three forms that the compiled part takes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, Union

import numpy as np
from numpy.typing import NDArray

from ._dyconv import Error, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


class SupportsArray(Protocol):
    """Anything that numpy can make an array of, such as a tensor of PyTorch on the CPU."""

    def __array__(self) -> NDArray[Any]: ...


Image = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, NDArray[np.uint8], "PilImage", SupportsArray]
"""An image: the path of a file, the bytes of a file (JPEG, PNG, WebP, BMP, GIF or TIFF), an image of Pillow, or pixels as
uint8 `[height, width, 3]` in RGB, `[height, width, 1]` or `[height, width]`."""

Raw = Union[str, bytes, NDArray[np.uint8]]
"""The path of a file, its bytes, or pixels `[height, width, 1 or 3]` in C order."""


def raw(image: Image, orientation: str) -> Raw:
    """Brings an image to a form that the compiled part takes. `orientation`: that of the preprocessing.

    Raises `TypeError` if it is no image, and `ImageError` if it has a shape or kind of pixel that no image has.
    """
    if isinstance(image, (str, os.PathLike)):
        return file_path(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    # Whoever hands over an image of Pillow has imported it.
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(image, pillow.Image):
        return _of_pillow(image, orientation)
    if isinstance(image, (np.ndarray, np.generic)) or hasattr(image, "__array__"):
        return _of_array(np.asarray(image))
    raise TypeError(
        f"{type(image).__name__} is no image: expected a path, the bytes of an image file, an image of Pillow, "
        "or pixels as an array of uint8 [height, width, 3]"
    )


def file_path(given: str | os.PathLike[str]) -> str:
    """A path as text. Raises `ValueError` if no file can have it."""
    text = os.fsdecode(given)
    try:
        possible = text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ValueError(f"{text!r} is no path of a file")
    return text


def _of_array(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    shape = list(pixels.shape)
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"the array has dtype {pixels.dtype} and shape {shape}: expected pixels as uint8 [height, width, 3], "
            "from 0 to 255; inputs that are normalized already go into logits()"
        )
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        # Transparency is dropped, as in image files.
        pixels = pixels[:, :, :3]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        hint = "; pass several images as a list" if pixels.ndim == 4 else ""
        hint = "; this looks like [channels, height, width]: use transpose(1, 2, 0)" if _channels_first(shape) else hint
        raise ImageError(f"the array has shape {shape}, expected [height, width, 3], [height, width, 1] or [height, width]{hint}")
    return np.ascontiguousarray(pixels)


def _channels_first(shape: list[int]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, 4)


def _of_pillow(image: PilImage, orientation: str) -> NDArray[np.uint8]:
    try:
        return _of_array(_pixels(image, orientation))
    except Error:
        raise
    except Exception as error:
        # Pillow reads files late, and raises errors of many kinds.
        raise ImageError(f"Pillow cannot read the image: {error or type(error).__name__}") from error


def _pixels(image: PilImage, orientation: str) -> NDArray[Any]:
    if orientation == "exif":
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    # Pillow before 11 opens PNG files of 16 bits in mode I.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # The high byte, as for image files.
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ImageError(f"the image has mode {image.mode}: expected 8 or 16 bits per channel")
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"))
