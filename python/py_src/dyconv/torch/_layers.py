"""Layers whose kernels depend on the input, as `torch.nn` modules.

The names in a state dict are those of `dyconv export --torch`, so weights go from there to here and back:

| name                   | shape                           |                                              |
|------------------------|---------------------------------|----------------------------------------------|
| `weight`               | `[K, out, in / groups, kh, kw]` | the bank of kernels (`[K, out, in]`: linear) |
| `bias`                 | `[K, out]`                      | the bank of biases, if there is one          |
| `attention.fc1.weight` | `[hidden, in, 1, 1]`            | hidden = max(1, in // 4)                     |
| `attention.fc1.bias`   | `[hidden]`                      |                                              |
| `attention.fc2.weight` | `[K, hidden, 1, 1]`             |                                              |
| `attention.fc2.bias`   | `[K]`                           |                                              |
| `attention.tau`        | `[]`                            | the temperature, a buffer                    |
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Input channels per hidden unit of a router (paper, section 3.2).
REDUCTION = 4
# The temperature with which training begins (paper, section 3.3).
START = 30.0

Pair = int | tuple[int, int]


class Attention(nn.Module):
    """The router of a dynamic layer: global average pool, linear, ReLU, linear, softmax(z / τ).

    Its linear layers are stored as 1×1 convolutions. The temperature `tau` is a buffer: it is in the state
    dict, and a new value needs no new compilation.
    """

    tau: Tensor

    def __init__(
        self,
        in_channels: int,
        kernels: int,
        tau: float,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 < tau < math.inf:
            raise ValueError(f"tau: expected a positive number, got {tau}")
        hidden = max(1, in_channels // REDUCTION)
        self.fc1 = nn.Conv2d(in_channels, hidden, 1, device=device, dtype=dtype)
        self.fc2 = nn.Conv2d(hidden, kernels, 1, device=device, dtype=dtype)
        self.register_buffer("tau", torch.tensor(tau, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """The coefficients π `[N, K]`, which sum to one, of maps `[N, C, H, W]`."""
        scores = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        attention: Tensor = _Softmax.apply(scores.flatten(1) / self.tau)
        return attention

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Files of others, and those of older versions of dyconv, have no temperature.
        name = f"{prefix}tau"
        if name not in state_dict and f"{prefix}fc2.weight" in state_dict:
            warnings.warn("the state dict has no temperatures `attention.tau`; 1 is assumed", stacklevel=2)
            state_dict[name] = torch.ones_like(self.tau)
        super()._load_from_state_dict(state_dict, prefix, *args)


class _Softmax(torch.autograd.Function):
    """Softmax over the second dimension, whose gradient is exact where attention is nearly one-hot.

    The textbook form πᵢ·(gᵢ − Σ πⱼ·gⱼ) cancels there, since rounded πⱼ do not sum to one exactly. This one,
    πᵢ·Σ πⱼ·(gᵢ − gⱼ), does not need them to.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor) -> Tensor:
        return torch.softmax(scores, dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (attention,) = ctx.saved_tensors
        differences: Tensor = gradient.unsqueeze(2) - gradient.unsqueeze(1)
        scores: Tensor = attention * (differences * attention.unsqueeze(1)).sum(2)
        return scores


class _Dynamic(nn.Module):
    """What dynamic layers have in common: a bank of kernels, one of biases, and a router."""

    bias: nn.Parameter | None

    def __init__(
        self, shape: tuple[int, ...], in_channels: int, bias: bool, tau: float, **factory: Any
    ) -> None:
        super().__init__()
        if shape[0] < 1:
            raise ValueError(f"kernels: expected a positive number, got {shape[0]}")
        self.weight = nn.Parameter(torch.empty(shape, **factory))
        self.register_parameter("bias", nn.Parameter(torch.empty(shape[:2], **factory)) if bias else None)
        self.attention = Attention(in_channels, shape[0], tau, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights anew: each kernel as `torch.nn.Conv2d` and `torch.nn.Linear` draw theirs."""
        bound = 1 / math.sqrt(self.weight[0, 0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)
        self.attention.fc1.reset_parameters()
        self.attention.fc2.reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # A bank has five dimensions, and `model.to(memory_format=torch.channels_last)` knows four.
        def without_bank(tensor: Tensor) -> Tensor:
            if tensor.dim() == 5:
                return fn(tensor.flatten(0, 1)).view(tensor.shape)
            return fn(tensor)

        return super()._apply(without_bank, recurse)  # type: ignore[no-any-return, no-untyped-call]


class DynamicConv2d(_Dynamic):
    """A convolution whose kernel and bias are mixed for each image: Σ πₖ·Wₖ and Σ πₖ·bₖ.

    Takes maps `[N, in_channels, H, W]` of any memory format, and gives `[N, out_channels, H', W']`. N is
    free, also in what `torch.export` and `torch.onnx.export` write. π comes from the layer's router, see
    `Attention`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as for
            `torch.nn.Conv2d`. `padding="same"` also works with a stride: the output has ⌈H / stride⌉ rows,
            and an odd border is larger at the end, as in TensorFlow.
        kernels: the number K of kernels.
        tau: the temperature at the beginning; `TemperatureSchedule` lowers it.

    Raises:
        ValueError: if a size is not positive, or channels are no multiple of the groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | Literal["same", "valid"] = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        kernels: int = 4,
        tau: float = START,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        channels = (in_channels, out_channels)
        if min(groups, *channels) < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels, out_channels: expected multiples of groups {groups}, got {channels}"
            )
        window = _pair("kernel_size", kernel_size, 1)
        shape = (kernels, out_channels, in_channels // groups, *window)
        super().__init__(shape, in_channels, bias, tau, device=device, dtype=dtype)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernels = kernels
        self.kernel_size = window
        self.stride = _pair("stride", stride, 1)
        self.dilation = _pair("dilation", dilation, 1)
        self.padding: tuple[int, int] | Literal["same"]
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f'padding: expected numbers, "same" or "valid", got {padding!r}')
            self.padding = "same" if padding == "same" else (0, 0)
        else:
            self.padding = _pair("padding", padding, 0)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.size(1) != self.in_channels:
            raise ValueError(f"expected maps [N, {self.in_channels}, H, W], got {list(x.shape)}")
        attention = self.attention(x)
        x, padding = self._pad(x)
        if not (torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting() or x.size(0) == 0):
            return self._batch_in_groups(x, attention, padding)
        # What is written to a file works for any batch, so the batch cannot be in the groups.
        if self.kernel_size == (1, 1) and self.groups == 1 and padding == (0, 0):
            return self._product(x, attention)
        return self._all_kernels(x, attention, padding)

    def _batch_in_groups(self, x: Tensor, attention: Tensor, padding: tuple[int, int]) -> Tensor:
        """One convolution with N·groups groups: each image is a group of channels and has its kernel."""
        batch = x.size(0)
        kernel = torch.matmul(attention, self.weight.flatten(1)).view(-1, *self.weight.shape[2:])
        bias = None if self.bias is None else torch.matmul(attention, self.bias).flatten()
        x = x.reshape(1, -1, *x.shape[2:])
        y = F.conv2d(x, kernel, bias, self.stride, padding, self.dilation, batch * self.groups)
        return y.view(batch, self.out_channels, *y.shape[2:])

    def _product(self, x: Tensor, attention: Tensor) -> Tensor:
        """A 1×1 convolution: the product of mixed kernels `[N, out, in]` and pixels `[N, in, H·W]`."""
        x = x[:, :, :: self.stride[0], :: self.stride[1]]
        kernel = torch.matmul(attention, self.weight.flatten(1)).view(-1, self.out_channels, self.in_channels)
        y = torch.matmul(kernel, x.flatten(2))
        if self.bias is not None:
            y = y + torch.matmul(attention, self.bias).unsqueeze(2)
        return y.view(-1, self.out_channels, *x.shape[2:])

    def _all_kernels(self, x: Tensor, attention: Tensor, padding: tuple[int, int]) -> Tensor:
        """The outputs of all kernels, by one convolution, and then mixed."""
        each = self.out_channels // self.groups
        # A group has the outputs of all kernels one after the other.
        bank = self.weight.view(self.kernels, self.groups, each, *self.weight.shape[2:])
        weight, bias = bank.transpose(0, 1).flatten(0, 2), None
        if self.bias is not None:
            bias = self.bias.view(self.kernels, self.groups, each).transpose(0, 1).flatten()
        y = F.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
        y = y.view(-1, self.groups, self.kernels, each, *y.shape[2:])
        y = (y * attention.view(-1, 1, self.kernels, 1, 1, 1)).sum(2)
        return y.view(-1, self.out_channels, *y.shape[3:])

    def _pad(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The maps, and the padding that the convolution still has to add."""
        if self.padding != "same":
            return x, self.padding
        borders = []
        for axis, size in enumerate(x.shape[2:]):
            stride, extent = self.stride[axis], (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            total = max(0, (-(-size // stride) - 1) * stride + extent - size)
            borders.append((total // 2, total - total // 2))
        (top, bottom), (left, right) = borders
        if top == bottom and left == right:
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom)), (0, 0)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}, kernels={self.kernels}"
        )


class DynamicLinear(_Dynamic):
    """A linear layer whose matrix and bias are mixed for each vector (the dynamic perceptron of the paper).

    Takes `[N, in_features]` and gives `[N, out_features]`, for any N.

    Args:
        in_features, out_features, bias: as for `torch.nn.Linear`.
        kernels: the number K of matrices.
        tau: the temperature at the beginning; `TemperatureSchedule` lowers it.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        kernels: int = 4,
        tau: float = START,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if min(in_features, out_features) < 1:
            raise ValueError(
                f"in_features {in_features}, out_features {out_features}: expected positive numbers"
            )
        shape = (kernels, out_features, in_features)
        super().__init__(shape, in_features, bias, tau, device=device, dtype=dtype)
        self.in_features, self.out_features, self.kernels = in_features, out_features, kernels

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.size(1) != self.in_features:
            raise ValueError(f"expected vectors [N, {self.in_features}], got {list(x.shape)}")
        attention = self.attention(x[:, :, None, None])
        # To compute all K outputs takes as many operations as to mix the matrices, and less memory.
        y = F.linear(x, self.weight.flatten(0, 1), None if self.bias is None else self.bias.flatten())
        y = y.view(-1, self.kernels, self.out_features)
        mixed: Tensor = (y * attention.unsqueeze(2)).sum(1)
        return mixed

    def extra_repr(self) -> str:
        has_bias = self.bias is not None
        return f"{self.in_features}, {self.out_features}, bias={has_bias}, kernels={self.kernels}"


def _pair(name: str, value: Pair, least: int) -> tuple[int, int]:
    """One number, or two of height and width, as two."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or min(both) < least:
        raise ValueError(f"{name}: expected a number or a pair of at least {least}, got {value}")
    return both[0], both[1]
