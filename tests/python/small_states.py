"""The small state dicts of `golden/torch/`: one narrow network in every container and nesting that PyTorch users write, its
dynamic forms under three names, and tensors that a reader has to refuse.

LIST has a line per file: the file, the architecture, τ, and its pictures and logits, or `refused` and the words that the error
should have.
"""
from functools import partial

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import dynamic_layers
import small_networks
from making import pictures, randomise, seed, state_dict

CLASSES = small_networks.CLASSES
SIDE = 32


class Rn4(small_networks.ResNet):
    """dyconv's `rn4_x0_5` in torchvision's names: channels 2, 2, 3, 4, 6, a 3×3 stem with stride 2, no pool."""

    def __init__(self):
        super().__init__(small_networks.resnet.BasicBlock, [], 2)
        self.conv1, self.maxpool = nn.Conv2d(3, 2, 3, 2, 1, bias=False), nn.Identity()
        for stage, planes in enumerate([2, 3, 4, 6]):
            setattr(self, f"layer{stage + 1}", self._make_layer(self.block, planes, 1, stride=2 if stage else 1))
        self.fc = nn.Linear(6, CLASSES)

    block = small_networks.resnet.BasicBlock


def mb4():
    """dyconv's `mb4` in torchvision's names."""
    rows = [[1, 4 * 16 / 3, 1, 1], [3, 4 * 16 / 3, 2, 2], [3, 6 * 16 / 3, 3, 2], [3, 8 * 16 / 3, 2, 1]]
    model = small_networks.mobilenetv2.MobileNetV2(num_classes=CLASSES, inverted_residual_setting=rows, round_nearest=1, width_mult=3 / 16)
    model.features[-1] = small_networks.Conv2dNormActivation(8, 32, 1, activation_layer=nn.ReLU6)
    model.classifier[1] = nn.Linear(32, CLASSES)
    return model


def mb4_timm():
    """The same in timm's names and order; timm rounds the widths inside a block to multiples of 8, so only the names are used."""
    rows = [["ds_r1_k3_s1_c4"], ["ir_r2_k3_s2_e3_c4"], ["ir_r3_k3_s2_e3_c6"], ["ir_r2_k3_s1_e3_c8"]]
    return small_networks.EfficientNet(small_networks.decode_arch_def(rows), num_classes=CLASSES, num_features=32, stem_size=6, fix_stem=True,
                                       act_layer=nn.ReLU6, round_chs_fn=partial(small_networks.round_channels, divisor=1, round_limit=0.0))


def dynamic_rn4(layer, tau, shortcuts=False):
    model = Rn4()
    keep = {"conv1"} | (set() if shortcuts else {f"layer{i}.0.downsample.0" for i in (2, 3, 4)})
    return dynamic_layers.replace(model, dynamic_layers.LAYERS[layer], keep, tau=tau)


def transposed(states):
    """Convolution and linear weights stored as [height, width, in, out], as a conversion from TensorFlow leaves them."""
    def one(value):
        if value.dim() == 4:
            return value.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
        return value.t().contiguous().t() if value.dim() == 2 else value
    return {name: one(value) for name, value in states.items()}


def prefixed(prefix, states):
    return {prefix + name: value for name, value in states.items()}


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    seed("states")
    x = pictures(2, SIDE)
    np.save(folder / "pictures.npy", x.numpy())

    def drawn(name, make):
        seed(name)
        return randomise(make(), SIDE, batches=4, batch=8)

    def answer(name, model):
        with torch.no_grad():
            np.save(folder / f"{name}.out.npy", model(x).numpy())

    def put(file, save, arch, out, tau="-"):
        save(folder / file)
        (folder / file).chmod(0o644)
        lines.append(f"{file} {arch} {tau} pictures.npy {out}.out.npy\n")

    def refused(file, save, arch, words):
        save(folder / file)
        (folder / file).chmod(0o644)
        lines.append(f"{file} {arch} - refused {words}\n")

    def zipped(value):
        return lambda path: torch.save(value, path)

    def legacy(value):
        return lambda path: torch.save(value, path, _use_new_zipfile_serialization=False)

    model = drawn("rn4", Rn4)
    states = state_dict(model)
    arch = "rn4_x0_5"
    answer("rn4", model)
    wrong = {"conv1.weight": states["conv1.weight"] * 0}  # must not be taken
    put("rn4.safetensors", lambda path: save_file(states, path), arch, "rn4")
    put("rn4.pth", zipped(model.state_dict()), arch, "rn4")
    put("rn4_legacy.pth", legacy(model.state_dict()), arch, "rn4")
    put("rn4_module.pt", zipped(model), arch, "rn4")
    put("rn4_transposed_legacy.pth", legacy(transposed(states)), arch, "rn4")
    checkpoint = dict(epoch=3, arch="rn4", optimizer=dict(state={}, param_groups=[dict(lr=0.1)]))
    put("rn4_checkpoint.pth", legacy(dict(checkpoint, state_dict=prefixed("module.", states))), arch, "rn4")
    put("rn4_model.pth", legacy(dict(checkpoint, model=prefixed("_orig_mod.", states))), arch, "rn4")
    put("rn4_state_dict_ema.pth.tar", legacy(dict(checkpoint, state_dict=wrong, state_dict_ema=states)), arch, "rn4")
    put("rn4_model_ema.pth", legacy(dict(checkpoint, model=wrong, model_ema=prefixed("_orig_mod.module.", states))), arch, "rn4")
    # Before the loop, which loads rounded values into the tensors of `states`.
    double = {key: value.double() if value.is_floating_point() else value for key, value in states.items()}
    for name, kind in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
        rounded = {key: value.to(kind) if value.is_floating_point() else value for key, value in states.items()}
        model.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in rounded.items()})
        answer(f"rn4_{name}", model)
        put(f"rn4_{name}.safetensors", lambda path: save_file(rounded, path), arch, f"rn4_{name}")
    put("rn4_bf16.pth", legacy(rounded), arch, "rn4_bf16")
    put("rn4_f64.pth", legacy(double), arch, "rn4")

    model = drawn("mb4", mb4)
    answer("mb4", model)
    put("mb4.safetensors", lambda path: save_file(state_dict(model), path), "mb4", "mb4")
    renamed = dict(zip(mb4_timm().state_dict(), state_dict(model).values(), strict=True))
    put("mb4_timm.safetensors", lambda path: save_file(renamed, path), "mb4", "mb4")

    for layer, tau in [("golden", 4.0), ("kaijieshi7", 4.0), ("tardelean", 10.0)]:
        name = f"dy_rn4_{layer}"
        model = drawn(name, lambda: dynamic_rn4(layer, tau))
        answer(name, model)
        put(f"{name}.pth", legacy(model.state_dict()), "dy_rn4_x0_5", name, tau)

    conv = {"conv1.weight": states["conv1.weight"]}
    refused("refused_int8.safetensors", lambda path: save_file({"conv1.weight": (conv["conv1.weight"] * 100).to(torch.int8)}, path), arch, "conv1.weight int8")
    quantized = torch.quantize_per_tensor(conv["conv1.weight"], 0.01, 0, torch.qint8)
    refused("refused_quantized.pth", zipped({"conv1.weight": quantized}), arch, "conv1.weight quantized")
    refused("refused_sparse.pth", zipped({"conv1.weight": conv["conv1.weight"].to_sparse()}), arch, "conv1.weight sparse")
    refused("refused_int8.pth", zipped({"conv1.weight": (conv["conv1.weight"] * 100).to(torch.int8)}), arch, "conv1.weight int8")
    refused("refused_negative_variance.safetensors", lambda path: save_file({**states, "bn1.running_var": -states["bn1.running_var"]}, path), arch, "bn1.running_var")
    refused("refused_nan.safetensors", lambda path: save_file({"fc.weight": states["fc.weight"] * float("nan")}, path), arch, "fc.weight NaN")
    refused("refused_foreign_global.pth", zipped({"conv1.weight": Foreign()}), arch, "posix.system")
    (folder / "LIST").write_text("".join(lines))


class Foreign:
    """Unpickling this calls `os.system("")`: harmless, and no reader may do it."""

    def __reduce__(self):
        import os

        return os.system, ("",)
