"""What a model answers with."""

from __future__ import annotations

from typing import NamedTuple, TypedDict


class Prediction(NamedTuple):
    """A class with its probability."""

    label: str
    """Name of the class."""
    index: int  # type: ignore[assignment]  # in place of the method of tuples
    """Index of the class among `Model.classes`."""
    probability: float
    """From 0 to 1."""


class Keypoint(NamedTuple):
    """A keypoint of a person, in coordinates of the image."""

    name: str
    """Name of the joint, one of `Model.joints`."""
    x: float
    """Pixels from the left edge of the image."""
    y: float
    """Pixels from the top edge of the image."""
    score: float
    """About 1 if the network is sure, about 0 if it sees nothing."""


class Cost(NamedTuple):
    """What a network costs: parameters, and multiply-adds for one image."""

    params: int
    """Trained parameters."""
    attention_params: int
    """Those of the routers, which are among `params`."""
    dynamic_layers: int
    """Layers whose kernels depend on the image."""
    madds: int
    """All multiply-adds."""
    convolution: int
    """Of convolutions, and of linear layers outside the routers."""
    attention: int
    """Of the routers' linear layers."""
    mixing: int
    """Of the weighted sums of kernels."""
    pooling: int
    """Additions of the routers' average pooling; they count as half a multiply-add in `madds`."""


class Preprocessing(TypedDict):
    """How an image is turned into a network's input; docs/model-file.md describes every key."""

    channels: int
    """1 (grey) or 3 (RGB)."""
    image_size: list[int]
    """Height and width of the input in pixels."""
    resize: int
    """Pixels to which the image is resized before it is cropped."""
    mean: list[float]
    """Of each channel, on the scale 0 to 1."""
    std: list[float]
    """Of each channel, on the scale 0 to 1."""
    orientation: str
    """`exif`: photographs are turned upright; `ignore`."""
    interpolation: str
    """`nearest`, `bilinear`, `bicubic` or `lanczos`."""
    crop: str
    """`center`, `squash` or `border`."""
