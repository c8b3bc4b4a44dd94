"""Random weights that keep activations in range, and the files of one network: state dicts, ONNX, input and logits."""
import copy
import logging
import pathlib
import warnings
import zlib

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

OPSET = 17
EXPORTERS = ("torchscript", "dynamo")


def seed(name):
    torch.manual_seed(zlib.crc32(name.encode()))


def pictures(batch, side, channels=3):
    """Noise with a mean per picture and channel and a smooth part, so that attention differs from picture to picture."""
    coarse = torch.randn(batch, channels, 4, 4)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    return torch.randn(batch, channels, side, side) * 0.5 + smooth + torch.randn(batch, channels, 1, 1)


def randomise(model, side, batches=1, batch=4, channels=3):
    """Draws batch-norm and classifier weights, and takes batch statistics from a few random batches."""
    norms, dropouts = [], []
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.75, 1.25)
            nn.init.normal_(module.bias, std=0.3)
            module.reset_running_stats()
            norms.append((module, module.momentum))
            module.momentum = None  # the mean over all batches
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Dropout):
            dropouts.append((module, module.p))
            module.p = 0.0
    for module in model.modules():
        if hasattr(module, "draw"):
            module.draw()
    model.train()
    with torch.no_grad():
        for _ in range(batches):
            model(pictures(batch, side, channels))
    for module, momentum in norms:
        module.momentum = momentum
    for module, p in dropouts:
        module.p = p
    return model.eval()


def export_onnx(model, x, path, exporter, free_batch, external=False):
    """Writes ONNX as a user would: by the TorchScript exporter or by the one on torch.export."""
    names = dict(input_names=["input"], output_names=["logits"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            if exporter == "torchscript":
                axes = {"input": {0: "batch"}, "logits": {0: "batch"}} if free_batch else None
                torch.onnx.export(model, (x,), str(path), dynamo=False, opset_version=OPSET, dynamic_axes=axes, **names)
            else:
                shapes = ({0: torch.export.Dim("batch", min=1)},) if free_batch else None
                torch.onnx.export(model, (x,), str(path), dynamo=True, dynamic_shapes=shapes, external_data=external,
                                  verbose=False, **names)
        finally:
            logging.disable(logging.NOTSET)


def difference(answer, expected):
    """The largest difference, as a part of the largest logit."""
    return float(np.abs(np.asarray(answer, np.float64) - np.asarray(expected, np.float64)).max() / np.abs(expected).max())


def onnxruntime_answer(path, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def state_dict(model):
    return {name: value.detach().contiguous() for name, value in model.state_dict().items()}


def write(model, x, folder, stem="", exporters=EXPORTERS, free_batch=True, states=True, external=False, exact=False):
    """Writes every file of one network into `folder`; returns (logits, {who: difference from the logits, or its
    error}): PyTorch itself in f64 if
    `exact`, onnxruntime on each exporter's file."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        logits = model(x)
    assert torch.isfinite(logits).all()
    np.save(folder / f"{stem}input.npy", x.numpy())
    np.save(folder / f"{stem}logits.npy", logits.numpy())
    if states:
        save_file(state_dict(model), folder / f"{stem}model.safetensors")
        (folder / f"{stem}model.safetensors").chmod(0o644)
        torch.save(model.state_dict(), folder / f"{stem}model.pth")
    found = {}
    if exact:
        with torch.no_grad():
            found["f64"] = difference(copy.deepcopy(model).double()(x.double()).numpy(), logits.numpy())
    for exporter in exporters:
        path = folder / f"{stem}{exporter}.onnx"
        try:
            export_onnx(model, x, path, exporter, free_batch, external)
            found[exporter] = difference(onnxruntime_answer(path, x.numpy()), logits.numpy())
        except Exception as error:  # one exporter may not know a network; the table says so
            found[exporter] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
    return logits.numpy(), found
