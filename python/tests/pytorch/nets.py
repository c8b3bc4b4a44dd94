"""Networks for the tests of `dyconv.torch`."""

from __future__ import annotations

import torch
from torch import nn

from dyconv import torch as dt

TAU = 4.0


class Odds(nn.Module):
    """Every kind of dynamic layer, behind a static stem: images [N, 3, 33, 33] to 6 values."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.rectangular = dt.DynamicConv2d(8, 12, (3, 5), (2, 1), (1, 2), groups=2, tau=TAU)
        self.pointwise = dt.DynamicConv2d(12, 16, 1, 2, tau=TAU)
        self.depthwise = dt.DynamicConv2d(16, 16, 3, 2, "same", groups=16, bias=False, tau=TAU)
        self.dilated = dt.DynamicConv2d(16, 10, 3, padding=2, dilation=2, kernels=3, tau=TAU)
        self.head = dt.DynamicLinear(10, 6, tau=TAU)

    def forward(self, x):
        for layer in (self.stem, self.rectangular, self.pointwise, self.depthwise, self.dilated):
            x = torch.relu(layer(x))
        return self.head(x.mean((2, 3)))


def odds():
    return draw(Odds())


def draw(model, seed=0):
    """Random weights with attention that differs from image to image, in evaluation mode."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "attention" in name:
            nn.init.normal_(parameter, std=2.0 if "fc2" in name else 0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def images(batch, size, channels=3):
    generator = torch.Generator().manual_seed(batch)
    noise = torch.randn(batch, channels, size, size, generator=generator)
    return noise + torch.randn(batch, channels, 1, 1, generator=generator)


def difference(found, expected):
    """The largest difference, as a part of the largest value."""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())
