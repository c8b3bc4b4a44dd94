"""A model, ready to run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Union, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._answers import Cost, Keypoint, Prediction, Preprocessing
from ._dyconv import Core, Error
from ._images import Image, file_path, raw

Bank = Literal["f32", "bf16", "int8", "auto"]
Box = Union[Sequence[float], NDArray[Any]]
"""x, y, width and height of a person in pixels, as in COCO."""
Source = Union[str, "os.PathLike[str]", bytes]

TOP = 5


def load(
    source: Source, *, threads: int | None = None, bank: Bank = "f32", flip: bool = False
) -> Model:
    """Reads, verifies and compiles a model file.

    source: the path of a model file, or its bytes.
    threads: threads of one prediction, the caller's included; by default one for each CPU that this process may use.
        Answers do not depend on it.
    bank: how the kernel banks of dynamic layers are stored. `f32` is exact; `bf16` and `int8` are smaller and change the
        answers a little; `auto` takes the smallest with which they change by at most 1 % of the largest.
    flip: keypoint networks: run on the mirrored person too, and average (flip test).

    Raises `FileNotFoundError`, or `Error` if it is no whole model file; the message says what to do.

    >>> model = dyconv.load("model.safetensors", threads=2)
    """
    return Model(source, threads=threads, bank=bank, flip=flip)


class Model:
    """A network with all that belongs to it: preprocessing, names of classes or joints, temperature.

    Any number of threads may use one model at the same time; the GIL is released while it works. It can be pickled: a
    model from a file as the path of that file, others as their bytes. It can be used after `fork`.

    classes: names of the classes in the order of the logits; empty for a keypoint network.
    joints: names of the joints in the order of the heat maps; empty for a classifier.
    input_shape: channels, height and width of the input; input_size: height and width in pixels.
    output_shape: `(classes,)`, or `(joints, height, width)` of the heat maps.
    preprocessing: how an image is turned into the input.
    tau: temperature of the softmax of every router.
    architecture: its name; empty if it is not known.
    threads: of one prediction. bank: how the kernel banks are stored, `f32`, `bf16` or `int8`.
    report: what `import_` found, as in the JSON of `dyconv import --json`; empty if the model was not imported.
    """

    def __init__(
        self, source: Source, *, threads: int | None = None, bank: Bank = "f32", flip: bool = False
    ) -> None:
        """As `load`."""
        if isinstance(source, (str, os.PathLike)):
            source = os.path.abspath(file_path(source))
        elif not isinstance(source, bytes):
            raise TypeError(f"{type(source).__name__} is no model: expected a path, or the bytes of a model file")
        if threads is not None:
            threads = whole("threads", threads)
        self._source = source
        self._options = {"threads": threads, "bank": bank, "flip": flip}
        core = Core(source, threads, bank, flip)
        self._core = core
        self.classes: list[str] = core.classes
        self.joints: list[str] = core.joints
        self.input_shape: tuple[int, int, int] = core.input_shape
        self.input_size: tuple[int, int] = self.input_shape[1:]
        self.output_shape: tuple[int, ...] = tuple(core.output_shape)
        self.preprocessing: Preprocessing = json.loads(core.preprocessing)
        self.tau: float = core.tau
        self.architecture: str = core.architecture
        self.threads: int = core.threads
        self.bank: str = core.bank
        self.report: dict[str, Any] = {}

    # A text is a sequence too, of texts; it is a path here.
    @overload
    def predict(self, image: Image, *, top: int = TOP) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def predict(
        self, image: Sequence[Image], *, top: int = TOP, errors: Literal["raise"] = "raise"
    ) -> list[list[Prediction]]: ...
    @overload
    def predict(
        self, image: Sequence[Image], *, top: int = TOP, errors: Literal["return"]
    ) -> list[list[Prediction] | Error]: ...
    def predict(
        self, image: Image | Sequence[Image], *, top: int = TOP, errors: Literal["raise", "return"] = "raise"
    ) -> list[Prediction] | list[list[Prediction]] | list[list[Prediction] | Error]:
        """The `top` most probable classes of an image, most probable first; of a list of images, such a list for each.

        image: a path, the bytes of an image file (JPEG, PNG, WebP, BMP, GIF or TIFF), an image of Pillow, or pixels as
            uint8 `[height, width, 3]` in RGB; or a list of these.
        errors: what becomes of an image in a list that cannot be read: `raise` raises an `ImageError` that says which
            it is, `return` puts the error in its place, so that the answers for the others are not lost.

        Raises `ImageError` if the image cannot be read, and `Error` if the model is a keypoint network.

        >>> model.predict("cat.jpg", top=1)
        [Prediction(label='tabby', index=281, probability=0.83)]
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors={errors!r}: expected 'raise' or 'return'")
        if isinstance(image, (list, tuple)):
            return [self._each(i, one, top, errors) for i, one in enumerate(image)]
        return self._predict(cast(Image, image), top)

    def _each(self, i: int, image: Image, top: int, errors: str) -> Any:
        try:
            return self._predict(image, top)
        except Error as error:
            if errors == "return":
                return error
            raise type(error)(f"image {i}: {error}") from None
        except (TypeError, ValueError) as error:
            raise type(error)(f"image {i}: {error}") from None

    def _predict(self, image: Image, top: int) -> list[Prediction]:
        found = self._core.predict(raw(image, self.preprocessing["orientation"]), whole("top", top))
        return [Prediction(self.classes[index], index, probability) for index, probability in found]

    def keypoints(self, image: Image, boxes: Iterable[Box] | None = None) -> list[list[Keypoint]]:
        """The keypoints of the person in each box, in coordinates of the image.

        image: as for `predict`.
        boxes: x, y, width and height in pixels of each person; without them, the whole image is the only box.

        Raises `ImageError` if the image cannot be read, and `Error` if the model is a classifier.

        >>> for x, y, *_ in model.keypoints("street.jpg", boxes=[[40, 20, 120, 260]])[0]: ...
        """
        places = None if boxes is None else [_box(box) for box in boxes]
        found = self._core.keypoints(raw(image, self.preprocessing["orientation"]), places)
        names = self.joints
        return [[Keypoint(name, *joint) for name, joint in zip(names, person)] for person in found]

    def attention(self, image: Image, box: Box | None = None) -> dict[str, NDArray[np.float32]]:
        """The attention π of every dynamic layer: one coefficient per kernel of its bank, float32 `[K]`.

        Empty for a static network. `box`: of the person, for a keypoint network; by default the whole image.

        >>> model.attention("cat.jpg")["layer1.0.conv1"]
        array([0.31, 0.22, 0.28, 0.19], dtype=float32)
        """
        return self._core.attention(raw(image, self.preprocessing["orientation"]), self._place(box))

    def preprocess(self, image: Image, box: Box | None = None) -> NDArray[np.float32]:
        """The network's input for an image, float32 `[C, H, W]`: resized, cropped and normalized.

        `box`: of the person, for a keypoint network; by default the whole image.
        """
        return self._core.preprocess(raw(image, self.preprocessing["orientation"]), self._place(box))

    def _place(self, box: Box | None) -> tuple[float, float, float, float] | None:
        if box is not None and not self.joints:
            raise ValueError("box: a classifier looks at the whole image; boxes are for keypoint networks")
        return None if box is None else _box(box)

    def logits(self, x: ArrayLike) -> NDArray[np.float32]:
        """The outputs for inputs that are prepared already: float32 `[N, C, H, W]` in, `[N, classes]` out.

        A keypoint network gives heat maps `[N, joints, height, width]`. Any number of inputs, none included. An array in
        C order is read where it lies, read-only ones too; others are copied first.

        Raises `TypeError` for another dtype and `ValueError` for another shape.

        >>> model.logits(model.preprocess("cat.jpg")[None]).shape
        (1, 1000)
        """
        x = np.asarray(x)
        if x.dtype != np.float32:
            raise TypeError(f"the inputs have dtype {x.dtype}, expected float32: use x.astype('float32')")
        if x.ndim != 4 or x.shape[1:] != self.input_shape:
            c, h, w = self.input_shape
            hint = "; one image needs a first axis, x[None]" if x.shape == self.input_shape else ""
            raise ValueError(f"the inputs have shape {list(x.shape)}, expected [N, {c}, {h}, {w}]{hint}")
        return self._core.logits(np.require(x, requirements=["C", "A"]))

    def cost(self) -> Cost:
        """Parameters and multiply-adds for one image, as `dyconv cost` counts them."""
        return Cost(*self._core.cost())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model file, in one step: another program sees the old file or the whole new one."""
        self._core.save(file_path(path))

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        *,
        form: Literal["portable", "exact", "frozen"] | None = None,
        batch: int | None = None,
        with_preprocessing: bool = False,
        images: Iterable[Image] | None = None,
    ) -> dict[str, Any]:
        """Writes an ONNX file, reads it back, and compares its answers with this model's.

        form: of dynamic convolutions. `portable` (the usual one): any batch, and no convolution whose weights are computed.
            `exact`: each kernel is mixed at run time, for a batch of one. `frozen`: the attention is fixed at its mean over
            `images`. A static network has one form.
        batch: inputs of one run; by default any number, and 1 for `exact`.
        with_preprocessing: the file scales and normalizes; its input is uint8 `[N, H, W, C]`, resized and cropped already.

        Returns the report, with the keys of `dyconv export --json`: files, largest differences, opset. Raises `Error` if
        the answers differ by more than 1e-4 of the largest; then nothing is written.
        """
        if isinstance(images, (str, bytes, os.PathLike)):
            raise TypeError("images: expected several images, such as a list of paths")
        if batch is not None:
            batch = whole("batch", batch)
        if images is not None and self.joints:
            raise Error("form='frozen' of a keypoint network: its attention is of persons, not of images; see `dyconv export`")
        mean = None if images is None else self._mean_attention(images)
        return cast("dict[str, Any]", json.loads(self._core.to_onnx(file_path(path), form, batch, with_preprocessing, mean)))

    def _mean_attention(self, images: Iterable[Image]) -> dict[str, list[float]]:
        count = 0
        sums: dict[str, NDArray[np.float64]] = {}
        for image in images:
            count += 1
            for layer, pi in self.attention(image).items():
                sums[layer] = sums.get(layer, np.zeros(len(pi))) + pi
        if count == 0:
            raise ValueError("images: is empty, so there is no attention to average")
        return {layer: (total / count).tolist() for layer, total in sums.items()}

    def to_torch(
        self, path: str | os.PathLike[str], *, names: Literal["torchvision", "timm"] = "torchvision"
    ) -> dict[str, Any]:
        """Writes a state dict of PyTorch, in safetensors, with the names of torchvision or timm, and reads it back.

        Returns the report, with the keys of `dyconv export --json`.
        """
        return cast("dict[str, Any]", json.loads(self._core.to_torch(file_path(path), names)))

    def to_hub(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        """Writes a folder as the Hugging Face hub has them: model.safetensors, config.json and README.md.

        The folder must be empty or not exist. Returns the report, with the keys of `dyconv export --json`.
        """
        return cast("dict[str, Any]", json.loads(self._core.to_hub(file_path(folder))))

    def __repr__(self) -> str:
        answers = f"{len(self.joints)} joints" if self.joints else f"{len(self.classes)} classes"
        name = self.architecture or "network"
        c, h, w = self.input_shape
        return f"<dyconv.Model {name}: {c} × {h} × {w} → {answers}, bank {self.bank}, threads {self.threads}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._source, self._options, self.report)

    def __copy__(self) -> Model:
        # Nothing of a model changes.
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self


def _restore(kind: type[Model], source: Source, options: dict[str, Any], report: dict[str, Any]) -> Model:
    model = kind(source, **options)
    model.report = report
    return model


def whole(name: str, value: int) -> int:
    """A number of things. Raises `TypeError` or `ValueError`, with the name, if it is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}={value!r}: expected a whole number above 0")
    if not 1 <= value < 1 << 31:
        raise ValueError(f"{name}={value}: expected a whole number above 0, and below 2³¹")
    return int(value)


def _box(box: Box) -> tuple[float, float, float, float]:
    try:
        if isinstance(box, (str, bytes, dict)):
            raise TypeError
        x, y, width, height = (float(v) for v in box)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the box {box!r}: expected x, y, width and height in pixels, such as [40, 20, 120, 260]") from None
    if not np.isfinite([x, y, width, height]).all() or width <= 0 or height <= 0:
        raise ValueError(f"the box {box!r}: expected finite numbers, width and height above 0")
    return x, y, width, height
