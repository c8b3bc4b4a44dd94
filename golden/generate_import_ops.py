"""Golden numbers for the operations of imported networks, made with PyTorch in float64 and stored as float32.

    python generate_import_ops.py OUT_DIR        needs torch and safetensors

import_ops.safetensors   one group of tensors per case, named <case>.<tensor>; the metadata key "cases" is a JSON list of
    {name, graph}, the graph in the form of the model file. x [N,C,H,W]  y, the output  dy, upstream gradient  grad.x, gradient of
    sum(y*dy) with respect to x. Cases with tensors also have <case>.<node>.<parameter> and grad.<node>.<parameter>.
"""
import json, pathlib, sys
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(sys.argv[1])
torch.set_default_dtype(torch.float64)
torch.manual_seed(20262)

cases, tensors = [], {}


def case(name, shape, nodes, function, spread=1.0, **parameters):
    """`nodes` are (name, op, inputs); `function` computes the same from x and the parameters."""
    x = (torch.randn(shape) * spread).requires_grad_()
    parameters = {k.replace("__", "."): v.requires_grad_() for k, v in parameters.items()}
    y = function(x, parameters)
    dy = torch.randn_like(y)
    (y * dy).sum().backward()
    graph = {"input": list(shape[1:]), "nodes": [dict(zip(("name", "op", "inputs"), node)) for node in nodes],
             "output": nodes[-1][0]}
    cases.append({"name": name, "graph": graph})
    group = {"x": x, "y": y, "dy": dy, "grad.x": x.grad}
    for k, v in parameters.items():
        group[k], group[f"grad.{k}"] = v, v.grad
    for k, v in group.items():
        tensors[f"{name}.{k}"] = v.detach().float().contiguous()


def one(name, shape, op, function, **more):
    """One op after the input."""
    case(name, shape, [("op", op, ["input"])], lambda x, _: function(x), **more)


POOL = ("pool", "global_avg_pool", ["input"])

# Activations, where they bend and far from there; of maps and of vectors.
for kind, function in [("silu", F.silu), ("gelu", F.gelu)]:
    one(kind, (1, 5, 5, 7), {"activation": kind}, function, spread=3.0)
    case(f"{kind}_vector", (2, 19, 1, 2), [POOL, ("op", {"activation": kind}, ["pool"])],
         lambda x, _, f=function: f(x.mean((2, 3))), spread=3.0)
one("leaky_relu", (1, 5, 5, 7), {"leaky_relu": {"slope": 0.1}}, lambda x: F.leaky_relu(x, 0.1))
one("leaky_relu_negative", (1, 3, 5, 3), {"leaky_relu": {"slope": -0.5}}, lambda x: F.leaky_relu(x, -0.5))

# Convolutions padded on one side: (left, right, top, bottom) as F.pad takes them.
def conv(out, kernel, stride, begin, end, groups=1, dilation=1):
    return {"out_channels": out, "kernel": [kernel] * 2, "stride": [stride] * 2, "padding": begin, "end_padding": end,
            "dilation": [dilation] * 2, "groups": groups, "bias": True}


def sides(begin, end):
    return (begin[1], end[1], begin[0], end[0])


for name, shape, out, kernel, stride, begin, end, groups, dilation in [
    ("conv_same_even", (1, 3, 6, 8), 5, 3, 2, [0, 0], [1, 1], 1, 1),
    ("conv_same_odd", (1, 3, 7, 6), 4, 5, 2, [2, 1], [2, 2], 1, 1),
    ("conv_depthwise_one_sided", (1, 4, 6, 5), 4, 3, 2, [0, 1], [1, 0], 4, 1),
    ("conv_dilated_end", (1, 2, 6, 5), 4, 3, 1, [0, 1], [3, 2], 2, 2),
    ("conv_pointwise_end", (1, 3, 4, 5), 4, 1, 2, [0, 0], [1, 0], 1, 1),
]:
    settings = conv(out, kernel, stride, begin, end, groups, dilation)
    case(name, shape, [("op", {"conv": settings}, ["input"])],
         lambda x, p, a=(sides(begin, end), stride, dilation, groups):
             F.conv2d(F.pad(x, a[0]), p["op.weight"], p["op.bias"], a[1], 0, a[2], a[3]),
         op__weight=torch.randn(out, shape[1] // groups, kernel, kernel) * 0.4, op__bias=torch.randn(out))


def mixed(x, p):
    """Coefficients are the means of the first channels."""
    pi = x.mean((2, 3))[:, :3]
    padded = F.pad(x, sides([0, 0], [1, 1]))
    rows = [F.conv2d(padded[n:n + 1], torch.einsum("k,koihw->oihw", pi[n], p["op.weight"]), pi[n] @ p["op.bias"], 2)
            for n in range(len(x))]
    return torch.cat(rows)


case("mix_conv_one_sided", (2, 4, 6, 6),
     [POOL, ("pi", {"slice": {"start": 0, "channels": 3}}, ["pool"]),
      ("op", {"mix_conv": {"kernels": 3, "conv": conv(5, 3, 2, [0, 0], [1, 1])}}, ["input", "pi"])],
     mixed, op__weight=torch.randn(3, 5, 4, 3, 3) * 0.4, op__bias=torch.randn(3, 5))

# Pools. With ceil_mode the last window starts where `end_padding` lets it.
def pool(kernel, stride, begin, end):
    pool = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": begin}
    return pool if end == begin else {**pool, "end_padding": end}


def avg(kernel, stride, begin, end, count):
    return {"avg_pool": {"pool": pool(kernel, stride, begin, end), "count_padding": count}}


INF = float("inf")
one("max_pool_ceil", (1, 3, 6, 7), {"max_pool": pool(3, 2, [0, 0], [1, 0])}, lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True))
one("max_pool_one_sided", (1, 3, 6, 5), {"max_pool": pool(3, 2, [0, 1], [1, 0])},
    lambda x: F.max_pool2d(F.pad(x - 3.0, sides([0, 1], [1, 0]), value=-INF), 3, 2) + 3.0)
one("avg_pool", (1, 3, 6, 7), avg(2, 2, [0, 0], [0, 0], True), lambda x: F.avg_pool2d(x, 2, 2))
one("avg_pool_counted", (1, 3, 5, 7), avg(3, 2, [1, 1], [1, 1], True), lambda x: F.avg_pool2d(x, 3, 2, 1))
one("avg_pool_inside", (1, 3, 5, 7), avg(3, 1, [1, 1], [1, 1], False),
    lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
one("avg_pool_ceil", (1, 3, 6, 7), avg(3, 2, [0, 0], [1, 0], False),
    lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=False))
one("avg_pool_ceil_padded", (1, 3, 6, 6), avg(3, 2, [1, 1], [2, 2], False),
    lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False))
one("avg_pool_one_sided", (1, 3, 6, 5), avg(3, 2, [0, 1], [2, 0], True),
    lambda x: F.avg_pool2d(F.pad(x, sides([0, 1], [2, 0])), 3, 2))
one("avg_pool_one_sided_inside", (1, 3, 6, 5), avg(3, 2, [0, 1], [2, 0], False),
    lambda x: F.avg_pool2d(F.pad(x, sides([0, 1], [2, 0])), 3, 2)
              / F.avg_pool2d(F.pad(torch.ones_like(x), sides([0, 1], [2, 0])), 3, 2))

# Whatever moves channels and pixels.
def part(name, start, channels, of="input"):
    return (name, {"slice": {"start": start, "channels": channels}}, [of])


case("concat", (1, 5, 3, 5), [part("a", 2, 3), part("b", 0, 2), ("op", "concat", ["a", "input", "b"])],
     lambda x, _: torch.cat([x[:, 2:], x, x[:, :2]], 1))
case("concat_vectors", (2, 5, 2, 3), [POOL, part("a", 4, 1, "pool"), ("op", "concat", ["a", "pool"])],
     lambda x, _: torch.cat([x.mean((2, 3))[:, 4:], x.mean((2, 3))], 1))
case("mul", (1, 6, 3, 5), [part("a", 0, 3), part("b", 3, 3), ("op", "mul", ["a", "b"])], lambda x, _: x[:, :3] * x[:, 3:])
case("mul_vectors", (2, 6, 2, 3), [POOL, part("a", 0, 3, "pool"), part("b", 3, 3, "pool"), ("op", "mul", ["a", "b"])],
     lambda x, _: x.mean((2, 3))[:, :3] * x.mean((2, 3))[:, 3:])
for scale in (2, 3):
    one(f"nearest_{scale}", (1, 2, 3, 5), {"upsample": {"scale": scale, "mode": "nearest"}},
        lambda x, s=scale: F.interpolate(x, scale_factor=s, mode="nearest"))
case("flatten", (2, 3, 3, 5), [("flat", "flatten", ["input"]), ("op", {"linear": {"out_features": 4, "bias": True}}, ["flat"])],
     lambda x, p: F.linear(x.flatten(1), p["op.weight"], p["op.bias"]),
     op__weight=torch.randn(4, 45) * 0.2, op__bias=torch.randn(4))
one("channel_shuffle", (1, 6, 3, 5), {"channel_shuffle": {"groups": 2}}, lambda x: F.channel_shuffle(x, 2))
one("channel_shuffle_3", (1, 12, 2, 3), {"channel_shuffle": {"groups": 3}}, lambda x: F.channel_shuffle(x, 3))

save_file(tensors, str(OUT / "import_ops.safetensors"), metadata={"cases": json.dumps(cases)})
print(len(cases), "cases")
