"""Writes the network of a dyconv model file as ONNX, so that other runtimes run the same weights.

    python model_to_onnx.py MODEL.safetensors OUT.onnx [--mix sum|matmul] [--batch N]

Needs safetensors, numpy and onnx. Batch norm after a convolution is folded, into every kernel of a bank, as an expert would
do by hand: no runtime does it for a kernel that is computed. The mixed kernel becomes the run-time weight of a `Conv`; --mix
says how it is written (runtimes differ in which they like). The batch is fixed: a kernel per sample can only be said by a
grouped convolution, with the samples as groups; it takes the mix as a matrix product.
"""
import argparse
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open


class Writer:
    def __init__(self, tensors, tau, mix, batch):
        if batch > 1 and mix != "matmul":
            raise SystemExit("a batch needs --mix matmul")
        self.tensors, self.tau, self.mix, self.batch = tensors, tau, mix, batch
        self.nodes, self.initializers, self.shapes = [], [], {}

    def constant(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, name, conv, x, weight, bias, out, samples=1):
        """A convolution; `samples` of them at once, as groups of one, where each has its own kernel."""
        (kh, kw), (ph, pw) = conv["kernel"], conv.get("padding", [0, 0])
        shape = lambda key, first, channels: self.constant(f"{name}.{key}", np.array([first, channels, 0, 0], np.int64))
        if samples > 1:
            groups, inputs = conv.get("groups", 1), self.tensors[f"{name}.weight"].shape[-3]
            x = self.add("Reshape", [x, shape("joined", 1, samples * groups * inputs)], f"{name}.x")
        to = f"{name}.y" if samples > 1 else out
        self.add("Conv", [x, weight] + ([bias] if bias else []), to, kernel_shape=[kh, kw], pads=[ph, pw, ph, pw],
                 strides=conv.get("stride", [1, 1]), dilations=conv.get("dilation", [1, 1]),
                 group=samples * conv.get("groups", 1))
        if samples > 1:
            self.add("Reshape", [to, shape("apart", samples, self.tensors[f"{name}.weight"].shape[-4])], out)

    def mixed(self, name, bank, pi, shape):
        """sum_k pi_k bank_k as a tensor of `shape`."""
        k = bank.shape[0]
        target = self.constant(f"{name}.shape", np.array(shape, np.int64))
        if self.mix == "matmul":
            bank = self.constant(f"{name}.bank", bank.reshape(k, -1))
            flat = self.add("MatMul", [pi, bank], f"{name}.mixed")
        else:
            bank = self.constant(f"{name}.bank", bank.reshape(k, -1))
            column = self.constant(f"{name}.column", np.array([k, 1], np.int64))
            pi = self.add("Reshape", [pi, column], f"{name}.pi")
            scaled = self.add("Mul", [pi, bank], f"{name}.scaled")
            axes = self.constant(f"{name}.axes", np.array([0], np.int64))
            flat = self.add("ReduceSum", [scaled, axes], f"{name}.mixed", keepdims=0)
        return self.add("Reshape", [flat, target], f"{name}.kernel")

    def node(self, node, following):
        """Writes one node; `following` is the batch norm that is folded into it, or None."""
        name, inputs = node["name"], node["inputs"]
        op = node["op"] if isinstance(node["op"], str) else next(iter(node["op"]))
        settings = {} if isinstance(node["op"], str) else node["op"][op]
        out = following["name"] if following else name
        t = lambda parameter: self.tensors[f"{name}.{parameter}"]
        if op in ("conv", "mix_conv", "conv_transpose"):
            conv = settings["conv"] if op == "mix_conv" else settings
            weight, shift = t("weight"), None
            if conv.get("bias"):
                assert op != "mix_conv" and not following, "the architectures have no biases of these"
                shift = t("bias")
            if following:
                bn = lambda parameter: self.tensors[f"{following['name']}.{parameter}"]
                eps = following["op"]["batch_norm"]["eps"]
                scale = bn("weight") / np.sqrt(bn("running_var") + eps)
                shift = (bn("bias") - bn("running_mean") * scale).astype(np.float32)
                axis = 1 if op == "conv_transpose" else weight.ndim - 4
                assert op != "conv_transpose" or conv.get("groups", 1) == 1, "the architectures have no such groups"
                weight = (weight * scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)])).astype(np.float32)
            samples = self.batch if op == "mix_conv" else 1
            bias = self.constant(f"{name}.shift", np.tile(shift, samples)) if shift is not None else None
            if op == "conv_transpose":
                (ph, pw), kernel = conv.get("padding", [0, 0]), self.constant(f"{name}.weight", weight)
                self.add("ConvTranspose", [inputs[0], kernel] + ([bias] if bias else []), out, kernel_shape=conv["kernel"],
                         pads=[ph, pw, ph, pw], strides=conv.get("stride", [1, 1]), group=conv.get("groups", 1),
                         output_padding=conv.get("output_padding", [0, 0]))
                return
            if op == "conv":
                kernel = self.constant(f"{name}.weight", weight)
            else:
                kernel = self.mixed(name, weight, inputs[1], [samples * weight.shape[1], *weight.shape[2:]])
            self.conv(name, conv, inputs[0], kernel, bias, out, samples)
        elif op == "linear":
            parameters = [self.constant(f"{name}.weight", t("weight"))]
            if settings.get("bias"):
                parameters.append(self.constant(f"{name}.bias", t("bias")))
            self.add("Gemm", [inputs[0], *parameters], out, transB=1)
        elif op == "activation":
            if settings == "relu6":
                low, high = self.constant(f"{name}.0", np.float32(0)), self.constant(f"{name}.6", np.float32(6))
                self.add("Clip", [inputs[0], low, high], out)
            elif settings == "hard_sigmoid":
                self.add("HardSigmoid", inputs, out, alpha=1 / 6, beta=0.5)
            else:
                self.add({"relu": "Relu", "hard_swish": "HardSwish", "sigmoid": "Sigmoid"}[settings], inputs, out)
        elif op == "softmax":
            z = inputs[0]
            if self.tau != 1:
                z = self.add("Div", [z, self.constant(f"{name}.tau", np.float32(self.tau))], f"{name}.z")
            self.add("Softmax", [z], out, axis=1)
        elif op == "add":
            self.add("Add", inputs, out)
        elif op == "scale":
            shape = self.constant(f"{name}.shape", np.array([self.batch, -1, 1, 1], np.int64))
            factors = self.add("Reshape", [inputs[1], shape], f"{name}.factors")
            self.add("Mul", [inputs[0], factors], out)
        elif op == "global_avg_pool":
            axes = self.constant(f"{name}.axes", np.array([2, 3], np.int64))
            self.add("ReduceMean", [inputs[0], axes], out, keepdims=0)
        elif op == "max_pool":
            (ph, pw) = settings.get("padding", [0, 0])
            self.add("MaxPool", inputs, out, kernel_shape=settings["kernel"], strides=settings["stride"], pads=[ph, pw, ph, pw])
        elif op == "upsample":
            scales = self.constant(f"{name}.scales", np.array([1, 1, settings["scale"], settings["scale"]], np.float32))
            self.add("Resize", [inputs[0], "", scales], out, mode="linear", coordinate_transformation_mode="half_pixel")
        elif op == "dropout":
            self.add("Identity", inputs, out)
        else:
            raise SystemExit(f"{name}: no ONNX form for `{op}`")


def convert(model, out, mix, batch=1):
    with safe_open(model, framework="numpy") as file:
        header = json.loads(file.metadata()["dyconv"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    graph = header["graph"]
    writer = Writer(tensors, header["tau"], mix, batch)
    readers = {}
    for node in graph["nodes"]:
        for name in node["inputs"]:
            readers.setdefault(name, []).append(node)
    folded = set()
    for node in graph["nodes"]:
        if node["name"] in folded:
            continue
        following = None
        is_conv = isinstance(node["op"], dict) and next(iter(node["op"])) in ("conv", "mix_conv", "conv_transpose")
        after = readers.get(node["name"], [])
        if is_conv and len(after) == 1 and isinstance(after[0]["op"], dict) and "batch_norm" in after[0]["op"]:
            following = after[0]
            folded.add(following["name"])
        writer.node(node, following)
    classes = len(header["task"]["classification"]["classes"])
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, *graph["input"]])
    y = helper.make_tensor_value_info(graph["output"], TensorProto.FLOAT, [batch, classes])
    onnx_graph = helper.make_graph(writer.nodes, "dyconv", [x], [y], writer.initializers)
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--mix", choices=["sum", "matmul"], default="matmul")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    convert(arguments.model, arguments.out, arguments.mix, arguments.batch)
