"""Dynamic convolution layers as people write them in PyTorch, and ResNet-18 and MobileNetV2 made of them.

Three spellings of the same layer, each with the state-dict names and the form of the forward pass of its origin:
ours (`golden/generate.py`), the one of the repository kaijieshi7/Dynamic-convolution-Pytorch, and the one of
TArdelean/DynamicConvolution. Written from their documented names and shapes.
"""
import torch
import torchvision
from torch import nn
from torch.nn import functional as F


def draw_bank(weight, bias=None):
    fan_in = weight[0, 0].numel()
    nn.init.normal_(weight, std=(2 / fan_in) ** 0.5)
    if bias is not None:
        nn.init.normal_(bias, std=0.1)


def draw_router(first, second, tau):
    """Attention that differs from picture to picture at this temperature, without making the network chaotic."""
    for layer, std in [(first, (2 / first.weight[0].numel()) ** 0.5), (second, 0.4 * tau / second.weight[0].numel() ** 0.5)]:
        nn.init.normal_(layer.weight, std=std)
        if layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.3)


class Golden(nn.Module):
    """The layer of `golden/generate.py`: mean → linear → ReLU → linear → softmax(·/τ).

    `mix` is how the kernel is computed: "sum" (multiply, then add), "matmul" or "einsum". `form` is how it is applied:
    "one" (a batch of one), "grouped" (the batch in the groups), "static" (K convolutions, whose outputs are mixed).
    """

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0, groups=1, bias=False, kernels=4, tau=4.0,
                 hidden=None, mix="sum", form="one"):
        super().__init__()
        self.settings = dict(stride=stride, padding=padding)
        self.groups, self.tau, self.mix, self.form = groups, tau, mix, form
        hidden = hidden or max(1, inputs // 4)
        self.weight = nn.Parameter(torch.empty(kernels, outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(kernels, outputs)) if bias else None
        self.router = nn.ModuleDict(dict(fc1=nn.Linear(inputs, hidden), fc2=nn.Linear(hidden, kernels)))

    def draw(self):
        draw_bank(self.weight, self.bias)
        draw_router(self.router["fc1"], self.router["fc2"], self.tau)

    def attention(self, x):
        scores = self.router["fc2"](F.relu(self.router["fc1"](x.mean((2, 3)))))
        return torch.softmax(scores / self.tau, dim=1)

    def mixed(self, attention, bank):
        """[N, K] and [K, …] give [N, …]."""
        if self.mix == "matmul":
            return torch.matmul(attention, bank.flatten(1)).view(-1, *bank.shape[1:])
        if self.mix == "einsum":
            return torch.einsum("nk,k...->n...", attention, bank)
        ones = [1] * (bank.dim() - 1)
        return (attention.view(attention.shape[0], -1, *ones) * bank.unsqueeze(0)).sum(1)

    def forward(self, x):
        attention = self.attention(x)
        if self.form == "static":
            outputs = [F.conv2d(x, self.weight[k], None if self.bias is None else self.bias[k], groups=self.groups, **self.settings)
                       for k in range(self.weight.shape[0])]
            return (torch.stack(outputs, 1) * attention[:, :, None, None, None]).sum(1)
        batch = x.shape[0]
        kernel = self.mixed(attention, self.weight)
        bias = None if self.bias is None else self.mixed(attention, self.bias)
        if self.form == "one" and batch == 1:
            return F.conv2d(x, kernel[0], None if bias is None else bias[0], groups=self.groups, **self.settings)
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel.flatten(0, 1), None if bias is None else bias.flatten(),
                     groups=self.groups * batch, **self.settings)
        return y.view(batch, -1, *y.shape[2:])


class KaijieShi7(nn.Module):
    """Names `weight`, `bias`, `attention.fc1`, `attention.fc2` (1×1 convolutions); `torch.mm`, batch in the groups."""

    class Attention(nn.Module):
        def __init__(self, inputs, hidden, kernels, tau, second_bias):
            super().__init__()
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc1 = nn.Conv2d(inputs, hidden, 1, bias=False)
            self.fc2 = nn.Conv2d(hidden, kernels, 1, bias=second_bias)
            self.tau = tau

        def forward(self, x):
            scores = self.fc2(F.relu(self.fc1(self.avgpool(x)))).view(x.size(0), -1)
            return F.softmax(scores / self.tau, 1)

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0, groups=1, bias=False, kernels=4, tau=4, ratio=0.25,
                 second_bias=True):
        super().__init__()
        self.settings = dict(stride=stride, padding=padding, dilation=1)
        self.groups = groups
        hidden = kernels if inputs == 3 else int(inputs * ratio) + 1
        self.attention = self.Attention(inputs, hidden, kernels, tau, second_bias)
        self.weight = nn.Parameter(torch.empty(kernels, outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(kernels, outputs)) if bias else None

    def draw(self):
        draw_bank(self.weight, self.bias)
        draw_router(self.attention.fc1, self.attention.fc2, self.attention.tau)

    def forward(self, x):
        attention = self.attention(x)
        batch, _, height, width = x.size()
        kernels, outputs, inputs, side, _ = self.weight.shape
        kernel = torch.mm(attention, self.weight.view(kernels, -1)).view(batch * outputs, inputs, side, side)
        bias = None if self.bias is None else torch.mm(attention, self.bias).view(-1)
        y = F.conv2d(x.reshape(1, -1, height, width), kernel, bias, groups=self.groups * batch, **self.settings)
        return y.view(batch, outputs, y.size(-2), y.size(-1))


class TArdelean(nn.Module):
    """Names `kernels_weights`, `kernels_bias`, `attention.to_scores.0` and `.2`; multiply and add, batch in the groups."""

    class Attention(nn.Module):
        def __init__(self, inputs, hidden, kernels):
            super().__init__()
            self.global_pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.to_scores = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, kernels))

        def forward(self, x, tau):
            return F.softmax(self.to_scores(self.global_pooling(x)) / tau, dim=-1)

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0, groups=1, bias=False, kernels=4, tau=10.0, reduce=4):
        super().__init__()
        self.settings = dict(stride=stride, padding=padding, dilation=1)
        self.groups, self.tau = groups, tau
        self.attention = self.Attention(inputs, max(1, inputs // reduce), kernels)
        self.kernels_weights = nn.Parameter(torch.empty(kernels, outputs, inputs // groups, kernel, kernel))
        self.kernels_bias = nn.Parameter(torch.empty(kernels, outputs)) if bias else None

    def draw(self):
        draw_bank(self.kernels_weights, self.kernels_bias)
        draw_router(self.attention.to_scores[0], self.attention.to_scores[2], self.tau)

    def forward(self, x):
        batch = x.shape[0]
        attention = self.attention(x, self.tau)
        kernel = torch.sum(torch.mul(self.kernels_weights.unsqueeze(0), attention.view(batch, -1, 1, 1, 1, 1)), dim=1)
        kernel = kernel.view(-1, *kernel.shape[-3:])
        bias = None
        if self.kernels_bias is not None:
            bias = torch.sum(torch.mul(self.kernels_bias.unsqueeze(0), attention.view(batch, -1, 1)), dim=1).view(-1)
        y = F.conv2d(x.view(1, -1, *x.shape[-2:]), kernel, bias, groups=self.groups * batch, **self.settings)
        return y.view(batch, -1, *y.shape[-2:])


LAYERS = {"golden": Golden, "kaijieshi7": KaijieShi7, "tardelean": TArdelean}


def replace(model, layer, keep, **settings):
    """Replaces every convolution whose name is not in `keep` by a dynamic one."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Conv2d and name not in keep:
            parent, _, last = name.rpartition(".")
            new = layer(module.in_channels, module.out_channels, module.kernel_size[0], stride=module.stride[0],
                        padding=module.padding[0], groups=module.groups, bias=module.bias is not None, **settings)
            setattr(model.get_submodule(parent), last, new)
    return model


def resnet18(layer, classes=1000, **settings):
    """torchvision's names; the first convolution stays static, in our own form also those on the shortcuts."""
    model = torchvision.models.resnet18(num_classes=classes)
    keep = {"conv1"}
    if layer == "golden":
        keep |= {f"layer{i}.0.downsample.0" for i in (2, 3, 4)}
    return replace(model, LAYERS[layer], keep, **settings)


def mobilenet_v2(layer, classes=1000, **settings):
    """torchvision's names; the first and the last convolution stay static."""
    model = torchvision.models.mobilenet_v2(num_classes=classes)
    return replace(model, LAYERS[layer], {"features.0.0", "features.18.0"}, **settings)


class TArdeleanResNet(nn.Module):
    """The ResNet of TArdelean's repository in its own names: a 3×3 stem without a pool, `shortcut`, `linear`, log-softmax."""

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride, **settings):
            super().__init__()
            self.conv1 = TArdelean(inputs, outputs, 3, stride, 1, **settings)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = TArdelean(outputs, outputs, 3, 1, 1, **settings)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.shortcut = nn.Sequential()
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(TArdelean(inputs, outputs, 1, stride, **settings), nn.BatchNorm2d(outputs))

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    def __init__(self, depths=(2, 2, 2, 2), width=64, classes=200, **settings):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                outputs = width << stage
                blocks.append(self.Block(inputs, outputs, 2 if stage and not index else 1, **settings))
                inputs = outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        x = F.adaptive_avg_pool2d(x, (1, 1)).view(x.size(0), -1)
        return F.log_softmax(self.linear(x), dim=1)
