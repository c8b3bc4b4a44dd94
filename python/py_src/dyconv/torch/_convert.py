"""Makes a static network dynamic: its convolutions become mixtures of K kernels, with a router each."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from ._choice import chosen
from ._input import Size
from ._layers import START, DynamicConv2d

# Size of the differences between the kernels of a new bank, relative to the kernels.
APART = 0.1


def dynamic(model: nn.Module, kernels: int = 4, *, input_size: Size = 224, tau: float = START) -> nn.Module:
    """The dynamic form of a network, which answers as before: for training that starts from static weights.

    The same layers become a `DynamicConv2d` as by `dyconv import --to-dynamic`: every `torch.nn.Conv2d`
    except those that the paper leaves static, which are the first layer, 1×1 convolutions on shortcuts, a 1×1
    convolution right before the last pool, convolutions of pooled vectors (squeeze-and-excitation), and one
    that is the network's output. Linear layers stay static, and so do layers that are dynamic already and
    convolutions whose kernel is computed (weight standardization). timm's `Conv2dSame` goes on to pad as
    TensorFlow does.

    Each bank is K copies of the static kernel plus differences with mean zero, a tenth of its size: equal
    kernels would get equal gradients, and stay equal. New routers end in zeros, so attention is uniform, and
    the mixed kernel is the static one for any temperature. The differences are drawn from PyTorch's generator
    (`torch.manual_seed`).

    Args:
        model: a network of one image. It is left as it is; the result shares no weights with it.
        kernels: the number K of kernels of each layer, at least 2.
        input_size: height and width in pixels of the images with which the network is traced, one number if
            they are equal.
        tau: the temperature of the new routers.

    Raises:
        ValueError: if there are fewer than two kernels, no layer would become dynamic, or one cannot.
        RuntimeError: if the network cannot be traced by `torch.export` with images of this size.
    """
    if kernels < 2:
        raise ValueError(f"kernels: a dynamic layer has two or more, got {kernels}")
    result = copy.deepcopy(model)
    names = chosen(result, input_size)
    if not names:
        raise ValueError(
            f"no convolution of {type(model).__name__} would become dynamic: it has none besides the first "
            "layer, 1×1 shortcuts, a 1×1 convolution before the last pool, and the output"
        )
    layers: dict[nn.Module, DynamicConv2d] = {}
    for name in names:
        conv = result.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        layers[conv] = _warm(name, conv, kernels, tau)
    # A layer that is used at several places has several names.
    for name, module in list(result.named_modules(remove_duplicate=False)):
        if module in layers:
            parent, _, last = name.rpartition(".")
            setattr(result.get_submodule(parent), last, layers[module])
    return result


def _warm(name: str, conv: nn.Conv2d, kernels: int, tau: float) -> DynamicConv2d:
    """A dynamic layer that answers as the static one."""
    layer = DynamicConv2d(
        conv.in_channels,
        conv.out_channels,
        _two(conv.kernel_size),
        _two(conv.stride),
        _padding(name, conv),
        _two(conv.dilation),
        conv.groups,
        conv.bias is not None,
        kernels=kernels,
        tau=tau,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    with torch.no_grad():
        layer.weight.copy_(_bank(conv.weight, kernels))
        if layer.bias is not None and conv.bias is not None:
            layer.bias.copy_(conv.bias)
            layer.bias.requires_grad_(conv.bias.requires_grad)
        for parameter in layer.attention.fc2.parameters():
            parameter.zero_()
    layer.weight.requires_grad_(conv.weight.requires_grad)
    return layer.train(conv.training)


def _bank(kernel: Tensor, kernels: int) -> Tensor:
    """K kernels around one, `[out, in, kh, kw]`, whose mean it is."""
    noise = torch.randn(kernels, *kernel.shape, device=kernel.device, dtype=kernel.dtype)
    noise -= noise.mean(0)
    return kernel + APART * kernel.square().mean().sqrt() * noise


def _padding(name: str, conv: nn.Conv2d) -> tuple[int, int] | Literal["same"]:
    """How a convolution pads.

    Raises:
        ValueError: if it pads otherwise than a dynamic layer can.
    """
    kind = type(conv)
    if kind.__name__ in ("Conv2dSame", "Conv2dSameExport"):
        return "same"
    if kind.forward is not nn.Conv2d.forward:
        raise ValueError(f"`{name}` is a {kind.__name__} with its own forward pass, expected torch.nn.Conv2d")
    if conv.padding_mode != "zeros":
        raise ValueError(f"`{name}` has padding_mode={conv.padding_mode!r}; dynamic layers pad with zeros")
    if isinstance(conv.padding, str):
        return "same" if conv.padding == "same" else (0, 0)
    return _two(conv.padding)


def _two(sizes: tuple[int, ...]) -> tuple[int, int]:
    height, width = sizes
    return height, width
