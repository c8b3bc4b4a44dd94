"""From a module to a model file and back."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
from nets import TAU, Odds, difference, draw, images, odds
from samples import needs

needs("torch.nn")
needs("onnx")

import torch
from torch import nn

import dyconv
from dyconv import torch as dt

# Another order of the sums, through all layers in f32.
CLOSE = 1e-5


def test_a_module_becomes_a_model_file(tmp_path):
    net = odds().train()
    net.dilated.eval()
    names = ["ape", "bee", "cat", "dog", "eel", "fox"]
    path = tmp_path / "odds.safetensors"
    made = dt.save(net, path, input_size=33, classes=names, preprocessing={"mean": [0.5] * 3, "interpolation": "bicubic"})
    assert net.training and not net.dilated.training
    assert made.report["check"]["largest_relative_difference"] < CLOSE
    assert made.report["dynamic_layers"] == 5
    model = dyconv.load(path)
    assert model.tau == TAU and model.classes == names and model.input_shape == (3, 33, 33)
    assert model.preprocessing["mean"] == [0.5] * 3 and model.preprocessing["interpolation"] == "bicubic"
    x = images(3, 33)
    assert difference(model.logits(x.numpy()), net.eval()(x).detach()) < CLOSE


def test_any_module_will_do(tmp_path):
    """A static one, grey, not square, in double precision, compiled."""
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(4, 3)).double()
    compiled = torch.compile(net, backend="eager")
    model = dt.save(compiled, tmp_path / "grey.safetensors", input_size=(20, 12))
    x = torch.randn(2, 1, 20, 12)
    assert difference(model.logits(x.numpy()), net.eval()(x.double()).float().detach()) < CLOSE
    assert net[0].weight.dtype == torch.float64


def test_temperatures_that_differ_are_kept(tmp_path):
    net = odds()
    net.rectangular.attention.tau.fill_(1.5)
    model = dt.save(net, tmp_path / "odds.safetensors", input_size=33)
    x = images(2, 33)
    assert difference(model.logits(x.numpy()), net(x).detach()) < CLOSE


def test_state_dicts_go_to_dyconv_and_back(tmp_path):
    torchvision = needs("torchvision")
    from safetensors.torch import load_file

    net = torchvision.models.mobilenet_v3_small(num_classes=5, width_mult=0.5)
    net = draw(dt.dynamic(net, input_size=64, tau=TAU))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    x = images(2, 64)
    y = net(x).detach()
    model = dyconv.import_(tmp_path / "net.pth", image_size=64, check=(x.numpy(), y.numpy()))
    assert model.report["check"]["largest_relative_difference"] < CLOSE
    model.to_torch(tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    other = draw(copy.deepcopy(net), seed=1)
    other.load_state_dict({name: value for name, value in net.state_dict().items() if name not in back} | back)
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_cannot_be_saved_is_refused(tmp_path):
    path = tmp_path / "no.safetensors"
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        dt.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)), path, input_size=9)
    with pytest.raises(dyconv.Error, match="Sin"):
        dt.save(Sine(), path, input_size=9)
    assert not path.exists()


class Sine(Odds):
    def forward(self, x):
        return torch.sin(self.stem(x)).mean((2, 3))


def test_without_pytorch_the_error_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import dyconv; import dyconv.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: dyconv.torch needs PyTorch" in run.stderr and "pip install torch" in run.stderr
