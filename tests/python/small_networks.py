"""Narrow networks with the layers of each family: a few thousand weights each, so that their files can live in `golden/`."""
from functools import partial

import torch
import torchvision
from timm.layers import SqueezeExcite, get_act_layer
from timm.models import byobnet, ghostnet, regnet
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn
from torch.nn import functional as F
from torchvision.models import densenet, mnasnet, mobilenetv2, mobilenetv3, resnet, shufflenetv2, squeezenet, vgg
from torchvision.models.googlenet import BasicConv2d, Inception
from torchvision.ops.misc import Conv2dNormActivation

import dynamic_layers

CLASSES = 5


def mobilenet_v2():
    rows = [[1, 4, 1, 1], [3, 8, 2, 2], [3, 12, 1, 2]]
    model = mobilenetv2.MobileNetV2(num_classes=CLASSES, inverted_residual_setting=rows, round_nearest=4, width_mult=0.25)
    model.features[-1] = Conv2dNormActivation(model.features[-1][0].in_channels, 16, 1, activation_layer=nn.ReLU6)
    model.classifier[1] = nn.Linear(16, CLASSES)
    return model


def mobilenet_v3():
    row = partial(mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    rows = [row(8, 3, 8, 8, True, "RE", 2), row(8, 3, 24, 8, False, "RE", 1), row(8, 5, 24, 16, True, "HS", 2)]
    return mobilenetv3.MobileNetV3(rows, last_channel=16, num_classes=CLASSES)


class ResNet(torchvision.models.ResNet):
    """torchvision's ResNet with any width of the stem; its own constructor fixes it at 64."""

    def __init__(self, block, depths, width, groups=1, base_width=64):
        nn.Module.__init__(self)
        self._norm_layer, self.dilation, self.inplanes = nn.BatchNorm2d, 1, width
        self.groups, self.base_width = groups, base_width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        for stage in range(4):
            depth = depths[stage] if stage < len(depths) else 0
            layer = self._make_layer(block, width << stage, depth, stride=2 if stage else 1) if depth else nn.Identity()
            setattr(self, f"layer{stage + 1}", layer)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(self.inplanes, CLASSES)


def efficientnet(rows, act, kind=EfficientNet, **settings):
    """One of timm's EfficientNet relatives from its block strings."""
    return kind(decode_arch_def(rows), num_classes=CLASSES, stem_size=8, act_layer=get_act_layer(act),
                round_chs_fn=partial(round_channels, divisor=4), **settings)


def timm_efficientnet():
    return efficientnet([["ds_r1_k3_s1_e1_c4_se0.25"], ["ir_r2_k3_s2_e3_c4_se0.25"], ["ir_r1_k5_s2_e3_c8_se0.25"]], "silu",
                        num_features=16)


def timm_efficientnet_same():
    return efficientnet([["ds_r1_k3_s1_e1_c4"], ["ir_r1_k3_s2_e3_c8"], ["ir_r1_k5_s2_e3_c8"]], "relu6", num_features=16,
                        pad_type="same", norm_layer=partial(nn.BatchNorm2d, eps=1e-3))


def timm_condconv():
    return efficientnet([["ds_r1_k3_s1_e1_c4_se0.25"], ["ir_r1_k3_s2_e2_c4_se0.25"], ["ir_r2_k3_s1_e2_c4_se0.25_cc4"]], "swish",
                        num_features=16, pad_type="same", norm_layer=partial(nn.BatchNorm2d, eps=1e-3))


def timm_mobilenetv2():
    return efficientnet([["ds_r1_k3_s1_c4"], ["ir_r2_k3_s2_e3_c8"], ["ir_r1_k5_s2_e3_c12"]], "relu6", num_features=16)


def timm_mobilenetv3():
    return efficientnet([["ds_r1_k3_s1_e1_c4_nre"], ["ir_r2_k3_s2_e3_c4_se0.25"], ["ir_r1_k5_s2_e3_c8_se0.25_nre"], ["cn_r1_k1_s1_c16"]],
                        "hard_swish", kind=MobileNetV3, num_features=16,
                        se_layer=partial(SqueezeExcite, gate_layer="hard_sigmoid"))


def timm_mobilenetv4():
    return efficientnet([["cn_r1_k3_s2_e1_c8", "cn_r1_k1_s1_e1_c8"], ["uir_r1_a5_k5_s2_e3_c12", "uir_r1_a0_k3_s1_e2_c12", "uir_r1_a3_k0_s1_e2_c12"],
                         ["cn_r1_k1_s1_c16"]], "relu", kind=MobileNetV3, num_features=16, fix_stem=True, head_norm=True)


def timm_ghostnet():
    rows = [[[3, 8, 4, 0, 1]], [[3, 16, 8, 0, 2]], [[5, 16, 8, 0.25, 2]]]
    model = ghostnet.GhostNet(rows, num_classes=CLASSES, width=0.5)
    model.conv_head, model.classifier = nn.Conv2d(model.num_features, 8, 1), nn.Linear(8, CLASSES)
    return model


def timm_regnet(se_ratio):
    settings = regnet.RegNetCfg(depth=4, w0=8, wa=10.0, wm=1.5, group_size=2, bottle_ratio=0.5, stem_width=4, se_ratio=se_ratio)
    return regnet.RegNet(settings, num_classes=CLASSES)


def timm_repvgg():
    blocks = tuple(byobnet.ByoBlockCfg(type="rep", d=d, c=c, s=2) for d, c in [(2, 8), (1, 12)])
    return byobnet.ByobNet(byobnet.ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=8), num_classes=CLASSES)


def tv_densenet():
    return densenet.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=CLASSES)


class SqueezeNet(squeezenet.SqueezeNet):
    def __init__(self):
        nn.Module.__init__(self)
        fire, pool = squeezenet.Fire, lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(inplace=True), pool(), fire(8, 4, 8, 8), fire(16, 4, 8, 8), pool(),
                                      fire(16, 4, 8, 8))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(16, CLASSES, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)))


def tv_mnasnet():
    model = mnasnet.MNASNet(0.25, num_classes=CLASSES)
    five = model.layers[9][0]  # a 5×5 block
    model.layers = nn.Sequential(*model.layers[:9], five, nn.Conv2d(five.layers[6].out_channels, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    model.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, CLASSES))
    return model


def tv_vgg():
    model = vgg.VGG(vgg.make_layers([4, "M", 4, "M"], batch_norm=True), num_classes=CLASSES)
    model.classifier[0], model.classifier[3], model.classifier[6] = nn.Linear(4 * 49, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)
    return model


def tv_shufflenet():
    return shufflenetv2.ShuffleNetV2([2, 1, 1], [8, 8, 16, 16, 16], num_classes=CLASSES)


class GoogLeNet(nn.Module):
    """Two of torchvision's inception blocks with its pools in ceil mode."""

    def __init__(self):
        super().__init__()
        self.conv1 = BasicConv2d(3, 8, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(8, 4, 4, 4, 2, 4, 4)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3b = Inception(16, 4, 4, 8, 4, 4, 4)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.avgpool, self.dropout, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(0.2), nn.Linear(20, CLASSES)

    def forward(self, x):
        x = self.inception3a(self.maxpool1(self.conv1(x)))
        x = self.maxpool4(self.inception3b(self.maxpool3(x)))
        return self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))


class Odds(nn.Module):
    """Spellings that no family above has: decomposed activations, leaky ReLU, GELU, average pools, split, pad, resize,
    transposed convolution, a channel shuffle, softmax at the end."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 1)
        self.up, self.last = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.fc = nn.BatchNorm2d(8), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = F.leaky_relu(self.a(x), 0.1)
        x = self.b(F.pad(x, (0, 1, 0, 1)))
        x = x * torch.sigmoid(x)
        x = x + x * (F.relu6(self.c(x) + 3) / 6)
        x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        a, b = x.chunk(2, 1)
        x = torch.cat([b, F.gelu(a)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = F.hardtanh(self.norm(self.up(x)), 0.0, 6.0)
        x = F.interpolate(F.avg_pool2d(x, 2, 2), scale_factor=2, mode="nearest") * x
        x = F.interpolate(self.last(x), scale_factor=2, mode="bilinear", align_corners=False)
        return torch.softmax(self.fc(F.hardswish(x).mean((2, 3))), 1)


class DynamicStack(nn.Module):
    """A stem, then a dense 3×3, a depthwise and a 1×1 dynamic convolution with batch norm and a shortcut, one with a bias."""

    def __init__(self, layer, **settings):
        super().__init__()
        make = partial(dynamic_layers.LAYERS[layer], kernels=3, **settings)
        self.stem, self.stem_bn = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.bn1 = make(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = make(4, 4, 3, stride=2, padding=1, groups=4), nn.BatchNorm2d(4)
        self.conv3, self.bn3 = make(4, 6, 1), nn.BatchNorm2d(6)
        self.conv4 = make(6, 4, 3, groups=2, bias=True)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = F.relu(self.stem_bn(self.stem(x)))
        x = F.relu(x + self.bn1(self.conv1(x)))
        x = F.relu6(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.conv4(x)), 1).flatten(1))


STATIC = {  # name: (make, side)
    "tv_mobilenet_v2": (mobilenet_v2, 32),
    "tv_mobilenet_v3": (mobilenet_v3, 32),
    "tv_resnet_basic": (lambda: ResNet(resnet.BasicBlock, [1, 1], 4), 32),
    "tv_resnet_bottleneck": (lambda: ResNet(resnet.Bottleneck, [1, 1], 4), 32),
    "tv_resnext": (lambda: ResNet(resnet.Bottleneck, [1, 1], 4, groups=2, base_width=32), 32),
    "tv_densenet": (tv_densenet, 32),
    "tv_squeezenet": (SqueezeNet, 33),
    "tv_mnasnet": (tv_mnasnet, 32),
    "tv_vgg": (tv_vgg, 28),
    "tv_shufflenet": (tv_shufflenet, 32),
    "tv_googlenet": (GoogLeNet, 34),
    "timm_mobilenetv2": (timm_mobilenetv2, 32),
    "timm_mobilenetv3": (timm_mobilenetv3, 32),
    "timm_efficientnet": (timm_efficientnet, 32),
    "timm_efficientnet_same": (timm_efficientnet_same, 32),
    "timm_ghostnet": (timm_ghostnet, 32),
    "timm_mobilenetv4": (timm_mobilenetv4, 32),
    "timm_regnety": (partial(timm_regnet, 0.25), 32),
    "timm_repvgg": (timm_repvgg, 32),
    "odds": (Odds, 32),
}

DYNAMIC = {  # name: (make, side, batches)
    **{f"golden_{mix}": (partial(DynamicStack, "golden", mix=mix), 16, [1, 2]) for mix in ("sum", "matmul", "einsum")},
    "golden_static": (partial(DynamicStack, "golden", form="static", tau=1.0), 16, [2]),
    "kaijieshi7": (partial(DynamicStack, "kaijieshi7"), 16, [1, 2]),
    "kaijieshi7_tau1": (partial(DynamicStack, "kaijieshi7", tau=1, second_bias=False), 16, [2]),
    "tardelean": (partial(DynamicStack, "tardelean"), 16, [1, 2]),
    "tardelean_resnet": (lambda: dynamic_layers.TArdeleanResNet((1, 1), 4, CLASSES, tau=10.0, kernels=3), 16, [2]),
    "timm_condconv": (timm_condconv, 32, [1, 2]),
}

# The TorchScript exporter loses the shapes behind "same" padding, which the mixed kernel's reshape needs.
EXPORTERS = {"timm_condconv": ["dynamo"]}
