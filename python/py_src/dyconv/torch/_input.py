"""Images with which a network is traced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._layers import DynamicConv2d

Size = int | tuple[int, int]


def images(model: nn.Module, count: int, size: Size) -> Tensor:
    """Noise as images `[count, C, H, W]`, where the first convolution of the model says C; like its weights.

    Raises:
        ValueError: if the size is not positive, or there is no convolution.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"input_size: expected a height and width in pixels, got {size}")
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, DynamicConv2d)):
            shape = (count, module.in_channels, height, width)
            return torch.randn(shape, device=module.weight.device, dtype=module.weight.dtype)
    raise ValueError(f"{type(model).__name__} has no 2-D convolution, expected a network of images")
