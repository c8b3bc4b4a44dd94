"""`dynamic`: which layers of a network become dynamic, and that it answers as before."""

from __future__ import annotations

import pytest
from nets import difference, draw, images
from samples import needs

needs("torch.nn")
torchvision = needs("torchvision")
timm = needs("timm")

import torch
from torch import nn
from torch.nn import functional as F

import dyconv
from dyconv import torch as dt

# A kernel is the mean of K, in f32; through dozens of layers.
CLOSE = 1e-5

# With the number of layers that the paper makes dynamic.
NETWORKS = {
    "resnet18": (16, lambda: torchvision.models.resnet18(num_classes=5)),
    "mobilenet_v2": (50, lambda: torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.5)),
    "mobilenet_v3_small": (32, lambda: torchvision.models.mobilenet_v3_small(num_classes=5, width_mult=0.5)),
    "timm_mobilenetv3_small_100": (32, lambda: timm.create_model("mobilenetv3_small_100", num_classes=5)),
}


def layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, dt.DynamicConv2d)}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layers_are_those_of_the_program_and_the_answers_the_same(name, tmp_path):
    torch.manual_seed(3)
    count, make = NETWORKS[name]
    net = draw(make())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    made = dt.dynamic(net, kernels=3, input_size=64)
    assert len(layers(made)) == count
    assert {layer.attention.tau.item() for layer in layers(made).values()} == {30.0}
    x = images(2, 64)
    with torch.no_grad():
        assert difference(made(x), net(x)) < CLOSE
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    torch.save(net.state_dict(), tmp_path / "net.pth")
    theirs = dyconv.import_(tmp_path / "net.pth", to_dynamic=3, image_size=64)
    theirs.to_torch(tmp_path / "net.safetensors", names="timm" if "timm" in name else "torchvision")
    from safetensors.torch import load_file

    expected = load_file(tmp_path / "net.safetensors")
    shapes = {key: value.shape for key, value in made.state_dict().items() if "num_batches_tracked" not in key}
    assert {key: shape for key, shape in shapes.items() if not key.endswith(".tau")} == {
        key: value.shape for key, value in expected.items() if not key.endswith(".tau")
    }
    # And its state dict is ours: the answers stay those of the network.
    made.load_state_dict({**made.state_dict(), **expected})
    with torch.no_grad():
        assert difference(made(x), net(x)) < CLOSE


def test_dynamic_networks_learn():
    net = dt.dynamic(Shared(), input_size=20, tau=2.0)
    layer = net.first
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(net(images(4, 20, 1)), torch.arange(4)).backward()
        optimizer.step()
    moved = layer.weight.detach() - before
    assert all((moved[0] - moved[k]).abs().max() > 0 for k in (1, 2, 3)), "kernels grow apart"
    assert layer.attention.fc2.weight.abs().max() > 0 and layer.attention.fc1.weight.grad.abs().max() > 0


class Shared(nn.Module):
    """A layer with two names that runs twice, one that pads as timm does, one that is frozen, a final pointwise one."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.first = self.second = nn.Conv2d(6, 6, 3, padding="same", dilation=2)
        self.strided = timm.layers.Conv2dSame(6, 8, 3, 2)
        self.frozen = nn.Conv2d(8, 8, 3, padding="valid", groups=2, bias=False).requires_grad_(False)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.second(self.first(self.stem(x)).relu_())
        x = self.frozen(F.silu(self.strided(x)))
        x = x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()
        return F.silu(self.last(x)).mean((2, 3))


def test_layers_keep_their_settings():
    net = Shared().double()
    net.frozen.eval()
    made = dt.dynamic(net, 2, input_size=(20, 18))
    assert layers(made).keys() == {"first", "strided", "frozen"} and made.second is made.first
    assert made.strided.padding == "same" and made.frozen.padding == (0, 0) and made.frozen.groups == 2
    assert not made.frozen.weight.requires_grad and made.strided.weight.requires_grad
    assert made.training and not made.frozen.training and made.frozen.weight.dtype == torch.float64
    x = images(2, 20, 1).double()
    assert difference(made(x).detach(), net(x).detach()) < 1e-12
    spread = (made.first.weight - net.first.weight).square().mean().sqrt() / net.first.weight.square().mean().sqrt()
    assert 0.05 < spread < 0.1, "kernels differ by a tenth, less what keeps their mean"


def test_what_cannot_become_dynamic_is_refused():
    with pytest.raises(ValueError, match="two or more, got 1"):
        dt.dynamic(Shared(), kernels=1)
    with pytest.raises(ValueError, match="no convolution of Sequential would become dynamic"):
        dt.dynamic(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(ValueError, match="`1` has padding_mode='reflect'"):
        dt.dynamic(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU()))
    with pytest.raises(RuntimeError, match=r"cannot trace Sequential with images \[2, 3, 224, 224\]"):
        dt.dynamic(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)))
    with pytest.raises(ValueError, match="Linear has no 2-D convolution"):
        dt.dynamic(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="input_size"):
        dt.dynamic(Shared(), input_size=0)
