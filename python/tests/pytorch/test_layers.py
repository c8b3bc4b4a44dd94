"""`DynamicConv2d` and `DynamicLinear`: golden numbers, a naive witness, and what goes wrong elsewhere."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from samples import GOLDEN, needs

needs("torch.nn")

import torch
from torch import nn
from torch.nn import functional as F

from dyconv import torch as dt

# Sums of some hundred products in f32, relative to the largest value.
CLOSE = 1e-5

PARAMETERS = {
    "bank.weight": "weight",
    "bank.bias": "bias",
    "fc1.weight": "attention.fc1.weight",
    "fc1.bias": "attention.fc1.bias",
    "fc2.weight": "attention.fc2.weight",
    "fc2.bias": "attention.fc2.bias",
}


def close(found, expected, bound=CLOSE):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= bound * expected.abs().max()


def peaky(layer):
    """Attention that differs from image to image, and biases that are not zero."""
    with torch.no_grad():
        for parameter in layer.attention.parameters():
            parameter.normal_()
    return layer


def witness(layer, x):
    """One image at a time, with its kernel written out."""
    outputs = []
    for image in x:
        pooled = image.mean((1, 2)) if image.dim() == 3 else image
        fc1, fc2 = layer.attention.fc1, layer.attention.fc2
        hidden = torch.relu(fc1.weight[:, :, 0, 0] @ pooled + fc1.bias)
        pi = torch.softmax((fc2.weight[:, :, 0, 0] @ hidden + fc2.bias) / layer.attention.tau, 0)
        kernel = sum(p * w for p, w in zip(pi, layer.weight))
        bias = None if layer.bias is None else sum(p * b for p, b in zip(pi, layer.bias))
        if image.dim() == 1:
            outputs.append(F.linear(image, kernel, bias))
            continue
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
        outputs.append(F.conv2d(image[None], kernel, bias, *settings)[0])
    return torch.stack(outputs)


def golden():
    from safetensors import safe_open

    with safe_open(GOLDEN / "dynamic_conv.safetensors", "pt") as file:
        cases = json.loads(file.metadata()["cases"])
        for case in cases:
            prefix = case["name"] + "."
            tensors = {n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)}
            yield pytest.param(case, tensors, id=case["name"])


@pytest.mark.parametrize(("case", "tensors"), list(golden()))
@pytest.mark.parametrize("form", ["batch in groups", "free batch"])
def test_values_and_gradients_are_the_golden_ones(case, tensors, form, monkeypatch):
    layer = dt.DynamicConv2d(
        case["cin"],
        case["cout"],
        case["k"],
        case["stride"],
        case["padding"],
        case["dilation"],
        case["groups"],
        case["bias"],
        kernels=case["kernels"],
        tau=case["tau"],
    )
    names = {theirs: ours for theirs, ours in PARAMETERS.items() if theirs in tensors}
    with torch.no_grad():
        for theirs, ours in names.items():
            parameter = layer.get_parameter(ours)
            parameter.copy_(tensors[theirs].view(parameter.shape))
    if form == "free batch":
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    x = tensors["x"].clone().requires_grad_()
    y = layer(x)
    close(layer.attention(x).detach(), tensors["pi"])
    close(y.detach(), tensors["y"])
    y.backward(tensors["dy"])
    close(x.grad, tensors["grad.x"])
    for theirs, ours in names.items():
        expected = tensors[f"grad.{theirs}"]
        close(layer.get_parameter(ours).grad.view(expected.shape), expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=(3, 5), padding=(0, 2), stride=(2, 1)),
        dict(kernel_size=(1, 7), padding=(0, 3), dilation=(1, 1), groups=2),
        dict(kernel_size=3, padding=2, dilation=2, groups=4, bias=False),
        dict(kernel_size=5, padding=2, stride=2, groups=8),
        dict(kernel_size=2, kernels=3),
        dict(kernel_size=1, stride=2),
        dict(kernel_size=1, padding=1),
        dict(kernel_size=1, kernels=1, bias=False),
    ],
    ids=lambda settings: ",".join(f"{k}={v}" for k, v in settings.items()).replace(" ", ""),
)
def test_a_batch_is_its_images(settings, batch, monkeypatch):
    torch.manual_seed(1)
    layer = peaky(dt.DynamicConv2d(8, 16, tau=2.0, **settings))
    x = torch.randn(batch, 8, 11, 9) + torch.randn(batch, 8, 1, 1)
    expected = witness(layer, x)
    for form in (False, True):
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda form=form: form)
        close(layer(x), expected)
        close(layer(x.contiguous(memory_format=torch.channels_last)), expected)
        assert layer(x[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_linear_layer_mixes_its_matrices(batch, bias):
    layer = peaky(dt.DynamicLinear(12, 7, bias, kernels=3, tau=2.0))
    x = torch.randn(batch, 12)
    close(layer(x), witness(layer, x))
    assert layer(x[:0]).shape == (0, 7)


def test_same_padding_is_pytorchs_without_a_stride_and_tensorflows_with_one():
    layer = peaky(dt.DynamicConv2d(3, 4, (4, 3), padding="same", dilation=(1, 2)))
    x = torch.randn(2, 3, 7, 6)
    close(layer(x), witness(layer, x))
    strided = peaky(dt.DynamicConv2d(3, 4, 3, 2, "same"))
    for size in (7, 8):
        found = strided(x := torch.randn(1, 3, size, size))
        assert found.shape[2:] == (4, 4)
        # An even size needs one more row and column, and they are at the end.
        padded = F.pad(x, (1, 1, 1, 1) if size % 2 else (0, 1, 0, 1))
        with torch.no_grad():
            pi = strided.attention(x)
            kernel = torch.einsum("nk,k...->n...", pi, strided.weight)[0]
            close(found, F.conv2d(padded, kernel, (pi @ strided.bias)[0], 2))


@pytest.mark.parametrize(("channels", "hidden"), [(1, 1), (3, 1), (4, 1), (8, 2), (30, 7), (64, 16)])
def test_routers_are_a_quarter_as_wide_as_their_input(channels, hidden):
    for layer in (dt.DynamicConv2d(channels, 4, 3), dt.DynamicLinear(channels, 4)):
        assert layer.attention.fc1.out_channels == hidden
        assert layer.attention.fc1.bias is not None and layer.attention.fc2.bias is not None


def test_new_attention_is_nearly_uniform():
    layer = dt.DynamicConv2d(64, 64, 3)
    assert (layer.attention(torch.randn(4, 64, 5, 5)) - 0.25).abs().max() < 0.02
    bound = 1 / (64 * 9) ** 0.5
    assert 0.9 * bound < layer.weight.abs().max() <= bound and layer.bias.abs().max() <= bound


def test_the_temperature_is_in_the_state_dict():
    layer = peaky(dt.DynamicConv2d(8, 4, 3))
    assert layer.state_dict()["attention.tau"] == 30 and "attention.tau" not in dict(layer.named_parameters())
    layer.attention.tau.fill_(2.5)
    other = dt.DynamicConv2d(8, 4, 3)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 5, 5)
    assert other.attention.tau == 2.5 and torch.equal(other(x), layer(x))
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(x), layer(x))


def test_a_state_dict_without_a_temperature_says_what_is_assumed():
    layer = dt.DynamicConv2d(8, 4, 3)
    state = {name: value for name, value in layer.state_dict().items() if name != "attention.tau"}
    before = dict(state)
    with pytest.warns(UserWarning, match="1 is assumed"):
        layer.load_state_dict(state)
    assert layer.attention.tau == 1 and state == before
    del state["weight"]
    with pytest.raises(RuntimeError, match='Missing key.*"weight"'), pytest.warns(UserWarning):
        layer.load_state_dict(state)


def test_modules_change_type_device_and_memory_format():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), dt.DynamicConv2d(8, 6, (3, 2), groups=2))
    x = torch.randn(2, 3, 9, 9)
    expected = model(x)
    model = model.to(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    y = model(x.to(memory_format=torch.channels_last))
    close(y, expected)
    y.sum().backward()
    assert model[1].weight.grad.shape == (4, 6, 4, 3, 2)
    assert model.double()(x.double()).dtype == torch.float64
    model.share_memory()
    assert model[1].weight.is_shared()
    half = model.to(torch.bfloat16)
    close(half(x.bfloat16()).float(), expected, 0.05)
    assert half.to_empty(device="meta")(x.to("meta", torch.bfloat16)).shape == expected.shape


def test_mixed_precision():
    layer = peaky(dt.DynamicConv2d(8, 6, 3))
    x = torch.randn(2, 8, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    close(y.float(), layer(x), 0.05)
    y.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_gradients_of_gradients():
    layer = peaky(dt.DynamicConv2d(4, 4, 2, groups=2, kernels=2, tau=1.5)).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(layer, (x,), fast_mode=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kernel_size=0), "kernel_size: expected a number or a pair of at least 1, got 0"),
        (dict(kernel_size=(3, 3, 3)), "kernel_size"),
        (dict(stride=0), "stride"),
        (dict(padding=-1), "padding"),
        (dict(padding="full"), '"same" or "valid", got \'full\''),
        (dict(groups=3), "multiples of groups 3"),
        (dict(kernels=0), "kernels: expected a positive number, got 0"),
        (dict(tau=0.0), "tau: expected a positive number, got 0.0"),
    ],
)
def test_impossible_layers_are_refused(settings, message):
    with pytest.raises(ValueError) as error:
        dt.DynamicConv2d(8, 6, **{"kernel_size": 3, **settings})
    assert message in str(error.value)


def test_other_inputs_are_refused():
    with pytest.raises(ValueError, match=r"expected maps \[N, 8, H, W\], got \[2, 6, 5, 5\]"):
        dt.DynamicConv2d(8, 4, 3)(torch.zeros(2, 6, 5, 5))
    with pytest.raises(ValueError, match=r"expected maps \[N, 8, H, W\], got \[8, 5, 5\]"):
        dt.DynamicConv2d(8, 4, 3)(torch.zeros(8, 5, 5))
    with pytest.raises(ValueError, match=r"expected vectors \[N, 8\], got \[2, 3, 8\]"):
        dt.DynamicLinear(8, 4)(torch.zeros(2, 3, 8))
