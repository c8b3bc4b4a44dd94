"""Models in Ray Data: classes for `Dataset.map_batches`, which answer for the bytes of image files.

    import dyconv.ray, ray

    images = ray.data.read_binary_files("photos/", include_paths=True)
    answers = images.map_batches(
        dyconv.ray.Classify,
        fn_constructor_args=["/models/model.safetensors"],
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=8),
    )
    answers.write_parquet("answers/")           # path, label, index, probability, error

Each actor loads the model once, and computes with one thread, so let there be up to one actor per core. (With `size=`
instead, and all cores taken, Ray waits forever for one to read the files.) Rows come in order if
`ray.data.DataContext.get_current().execution_options.preserve_order` is set to True.

An image that cannot be read does not end the job: its row says why in the column `error`, which is empty for the others.
Columns have the same type in every batch, also if all of its images fail. The other columns of a batch are kept; the bytes
are dropped, since they would be copied with the answers.

Ray itself is not imported: objects of these classes are functions from a batch to a batch, for processes of any kind.
Columns of lists are Arrow arrays, which need pyarrow; it comes with Ray Data.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._dyconv import Error
from ._model import Bank, Model, Source, load, whole

__all__ = ["Classify", "Keypoints"]

Found = TypeVar("Found")


class Classify:
    """The most probable classes of images.

    Columns of the answers, for `top=1`: `label` (text), `index` (int64), `probability` (float32) and `error` (text). For
    more, label, index and probability are lists, most probable first. A row with an error has the label "", the index -1
    and a probability that is not a number, or empty lists.
    """

    def __init__(self, model: Source, *, column: str = "bytes", top: int = 1, bank: Bank = "f32") -> None:
        """Loads the model, which is a classifier.

        model: the path of a model file, the same for every actor; or its bytes, which travel to the actors.
        column: name of the column with the bytes of image files.
        top: number of classes for each image.
        bank: as for `dyconv.load`.

        Raises as `dyconv.load`, and `Error` if the model is a keypoint network.
        """
        self._top = whole("top", top)
        self._column = column
        self._model = load(model, threads=1, bank=bank)
        if self._model.joints:
            raise Error(f"the model finds {len(self._model.joints)} keypoints and has no classes: use dyconv.ray.Keypoints")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with the answers in place of the bytes.

        Raises `ValueError` if a column is missing or has the name of an answer, and `TypeError` for a column without bytes.
        """
        kept, images = _parts(batch, self._column, ("label", "index", "probability", "error"))
        found, errors = _each(lambda image: self._model.predict(image, top=self._top), images)
        if self._top == 1:
            best = [row[0] if row else ("", -1, math.nan) for row in found]
            return kept | {
                "label": np.array([label for label, _, _ in best], np.str_),
                "index": np.array([index for _, index, _ in best], np.int64),
                "probability": np.array([probability for _, _, probability in best], np.float32),
                "error": errors,
            }
        arrow = _arrow()
        return kept | {
            "label": arrow.array([[label for label, _, _ in row or ()] for row in found], arrow.list_(arrow.string())),
            "index": arrow.array([[index for _, index, _ in row or ()] for row in found], arrow.list_(arrow.int64())),
            "probability": arrow.array(
                [[probability for _, _, probability in row or ()] for row in found], arrow.list_(arrow.float32())
            ),
            "error": errors,
        }


class Keypoints:
    """The keypoints of persons in images.

    Columns of the answers: `keypoints`, lists `[persons, joints, 3]` (float64) of x and y in pixels of the image and the
    score, joints in the order of `Model.joints`; and `error` (text). A row with an error has no persons.
    """

    def __init__(
        self,
        model: Source,
        *,
        column: str = "bytes",
        boxes: str | None = None,
        bank: Bank = "f32",
        flip: bool = False,
    ) -> None:
        """Loads the model, which is a keypoint network.

        model: the path of a model file, the same for every actor; or its bytes, which travel to the actors.
        column: name of the column with the bytes of image files.
        boxes: name of the column with the boxes of each image, `[persons, 4]`: x, y, width and height in pixels. Without it,
            the whole image is the box of one person.
        bank, flip: as for `dyconv.load`.

        Raises as `dyconv.load`, and `Error` if the model is a classifier.
        """
        self._column, self._boxes = column, boxes
        self._model = load(model, threads=1, bank=bank, flip=flip)
        if not self._model.joints:
            raise Error(
                f"the model has {len(self._model.classes)} classes and finds no keypoints: use dyconv.ray.Classify"
            )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with the answers in place of the bytes.

        Raises `ValueError` if a column is missing or has the name of an answer, and `TypeError` for a column without bytes.
        """
        kept, images = _parts(batch, self._column, ("keypoints", "error"))
        if self._boxes is None:
            found, errors = _each(self._model.keypoints, images)
        else:
            found, errors = _each(self._in_boxes, images, _rows(_column(batch, self._boxes)))
        rows = [[[joint[1:] for joint in person] for person in row or ()] for row in found]
        arrow = _arrow()
        of_floats = arrow.list_(arrow.list_(arrow.list_(arrow.float64())))
        return kept | {"keypoints": arrow.array(rows, of_floats), "error": errors}

    def _in_boxes(self, image: bytes, boxes: Any) -> Any:
        if boxes is None:
            raise ValueError("the row has no boxes, expected a list [persons, 4]")
        return self._model.keypoints(image, boxes)


def _parts(batch: Mapping[str, Any], column: str, answers: Iterable[str]) -> tuple[dict[str, Any], list[Any]]:
    """The columns that are kept, and the images."""
    images = _rows(_column(batch, column))
    kept = {name: values for name, values in batch.items() if name != column}
    for name in answers:
        if name in kept:
            raise ValueError(f"the batch has a column `{name}` already: give it another name with Dataset.rename_columns")
    return kept, images


def _column(batch: Mapping[str, Any], name: str) -> Any:
    if name not in batch:
        raise ValueError(f"the batch has no column `{name}`, only {', '.join(f'`{other}`' for other in batch)}")
    return batch[name]


def _rows(column: Any) -> list[Any]:
    """The values of a column: an array of numpy or Arrow, or a list."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "S":
        # Numpy takes zeros at the end for padding; in a file they may belong to the image.
        return [value.tobytes() for value in np.ascontiguousarray(column).view(f"V{column.dtype.itemsize}")]
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


def _each(ask: Callable[..., Found], images: list[Any], *more: list[Any]) -> tuple[list[Found | None], NDArray[np.str_]]:
    """What the model answers for each image, and what went wrong."""
    found: list[Found | None] = []
    errors = []
    for image, *others in zip(images, *more):
        if image is not None and not isinstance(image, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"the column of images holds {type(image).__name__}, expected the bytes of image files, as from "
                "ray.data.read_binary_files"
            )
        try:
            if image is None:
                raise ValueError("the row has no image, expected the bytes of a file")
            found.append(ask(image, *others))
            errors.append("")
        except (Error, ValueError) as error:
            found.append(None)
            errors.append(str(error))
    return found, np.array(errors, np.str_)


def _arrow() -> Any:
    """Arrow, of which the types of lists are known even if all of them are empty."""
    return importlib.import_module("pyarrow")
