"""Dynamic convolutions in PyTorch: train with them there, and run the result with dyconv.

    >>> import torchvision, dyconv.torch
    >>> net = dyconv.torch.dynamic(torchvision.models.resnet18(weights="DEFAULT"))
    >>> tau = dyconv.torch.TemperatureSchedule(net)
    >>> for epoch in range(90):
    ...     tau.step(epoch)                     # 30 at first, 1 from epoch 10 on
    ...     ...                                 # train as ever
    >>> dyconv.torch.save(net, "net.safetensors", input_size=224, classes=names)

PyTorch is needed by this module alone.
"""

from __future__ import annotations

try:
    import torch.nn as _nn  # noqa: F401  (a folder `torch` without modules is no PyTorch)
except ImportError as error:
    raise ImportError(
        "dyconv.torch needs PyTorch 2.7 or later, which is not installed: `pip install torch`; pytorch.org "
        "lists builds without CUDA"
    ) from error

from ._convert import dynamic
from ._layers import Attention, DynamicConv2d, DynamicLinear
from ._save import save
from ._schedule import TemperatureSchedule

__all__ = ["Attention", "DynamicConv2d", "DynamicLinear", "TemperatureSchedule", "dynamic", "save"]
