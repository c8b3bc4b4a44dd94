"""What traces a module: `torch.compile`, `torch.export`, and both exporters to ONNX. The batch stays free."""

from __future__ import annotations

import warnings

import pytest
from nets import difference, draw, images, odds
from samples import needs

needs("torch.nn")

import torch
from torch import nn

import dyconv.torch

# Another order of the sums, through six layers in f32.
CLOSE = 1e-5


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_module_takes_any_batch(backend):
    torch._dynamo.reset()
    conv = dyconv.torch.DynamicConv2d(3, 8, 3, 2, "same")
    net = draw(nn.Sequential(conv, nn.Flatten(), dyconv.torch.DynamicLinear(8 * 16, 6)))
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for batch in (2, 1, 3, 5):
        x = images(batch, 8)
        assert difference(compiled(x).detach(), net(x).detach()) < CLOSE
        net.zero_grad()
        compiled(x).square().sum().backward()
        found = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
        net.zero_grad()
        net(x).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert (found[name] - parameter.grad).abs().max() <= 1e-4 * parameter.grad.abs().max() + 1e-6, name


def test_a_new_temperature_needs_no_new_compilation():
    torch._dynamo.reset()
    layer = dyconv.torch.DynamicConv2d(8, 4, 3)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = images(2, 9, 8)
    compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"):
        for tau in (10.0, 1.0):
            layer.attention.tau.fill_(tau)
            assert difference(compiled(x).detach(), layer(x).detach()) < CLOSE


def test_a_compiled_module_mixes_kernels_and_not_outputs():
    """The form for a free batch takes K times as many operations; training must not fall into it."""
    torch._dynamo.reset()
    seen = []

    def backend(graph, _):
        seen.extend(getattr(node.target, "__name__", node.target) for node in graph.graph.nodes)
        return graph

    torch.compile(dyconv.torch.DynamicConv2d(8, 4, 3, bias=False), backend=backend, fullgraph=True)(images(2, 9, 8))
    assert seen.count("conv2d") == 3 and seen.count("matmul") == 1 and "sum" not in seen


def test_an_exported_program_takes_any_batch():
    net = odds()
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    for strict in (False, True):
        program = torch.export.export(net, (images(2, 33),), dynamic_shapes=shapes, strict=strict)
        for batch in (1, 4):
            x = images(batch, 33)
            assert difference(program.module()(x).detach(), net(x).detach()) < CLOSE


@pytest.fixture(scope="module", params=["dynamo", "torchscript"])
def onnx_file(request, tmp_path_factory):
    needs("onnx")
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if request.param == "dynamo":
            needs("onnxscript")
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            torch.onnx.export(odds(), (images(2, 33),), path, dynamic_shapes=shapes, external_data=False, verbose=False)
        else:
            names = dict(input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
            torch.onnx.export(odds(), (images(2, 33),), path, dynamo=False, opset_version=17, **names)
    return path


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_files_take_any_batch(onnx_file, batch):
    onnxruntime = needs("onnxruntime")
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    x = images(batch, 33)
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    assert difference(found, odds()(x).detach()) < CLOSE


def test_dyconv_reads_dynamic_layers_from_onnx_files(onnx_file):
    x = images(3, 33)
    y = odds()(x).detach()
    model = dyconv.import_(onnx_file, check=(x.numpy(), y.numpy()))

    assert model.report["dynamic_layers"] == 5 and model.tau == 4.0
    assert difference(model.logits(x.numpy()), y) < CLOSE
