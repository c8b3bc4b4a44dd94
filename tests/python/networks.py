"""The networks of the comparison: name, how to make it, and the architecture of dyconv that has the same layers, if any."""
from dataclasses import dataclass, field
from typing import Callable, Optional

import timm
import torchvision

import dynamic_layers


@dataclass
class Network:
    name: str
    make: Callable
    arch: Optional[str] = None  # dyconv's name, for the import of a state dict
    side: int = 224
    batch: int = 2  # pictures in input.npy
    free_batch: bool = True  # ONNX with a free batch
    tau: Optional[float] = None
    dynamic: bool = False
    extra_batches: list = field(default_factory=list)  # further ONNX files with the batch fixed


def of_torchvision(name, arch=None, file=None, **settings):
    return Network("tv_" + (file or name), lambda: getattr(torchvision.models, name)(weights=None, **settings), arch)


def of_timm(name, arch=None, **settings):
    return Network("timm_" + name, lambda: timm.create_model(name, pretrained=False), arch, **settings)


def dynamic(layer, base, arch=None, tau=4.0):
    return Network(f"dy_{base}_{layer}", lambda: getattr(dynamic_layers, base)(layer, tau=tau), arch, batch=1,
                   free_batch=False, tau=tau, dynamic=True, extra_batches=[4])


NETWORKS = [
    of_torchvision("mobilenet_v2", "mobilenet_v2_x1_0"),
    of_torchvision("mobilenet_v3_small", "mobilenet_v3_small"),
    of_torchvision("mobilenet_v3_large", "mobilenet_v3_large"),
    of_torchvision("resnet18", "resnet18"),
    of_torchvision("resnet50", "resnet50"),
    of_timm("mobilenetv2_100", "mobilenet_v2_x1_0"),
    of_timm("mobilenetv3_large_100", "mobilenet_v3_large"),
    of_timm("resnet18", "resnet18"),
    of_timm("efficientnet_lite0", "efficientnet_lite0"),
    of_timm("tf_efficientnet_lite0", "tf_efficientnet_lite0"),
    of_timm("efficientnet_b0"),
    of_timm("tf_efficientnet_cc_b0_4e", batch=1, free_batch=False, dynamic=True, extra_batches=[4]),
    of_timm("regnetx_004"),
    of_timm("regnety_004"),
    of_torchvision("resnext50_32x4d"),
    of_timm("ghostnet_100"),
    of_timm("mobilenetv4_conv_small"),
    of_timm("repvgg_a0"),
    of_torchvision("densenet121"),
    of_torchvision("squeezenet1_1"),
    of_torchvision("mnasnet1_0"),
    of_torchvision("vgg11_bn"),
    of_torchvision("shufflenet_v2_x1_0"),
    of_torchvision("googlenet", aux_logits=False, init_weights=False),
    dynamic("golden", "resnet18", "dy_resnet18"),
    dynamic("golden", "mobilenet_v2", "dy_mobilenet_v2_x1_0"),
    dynamic("kaijieshi7", "resnet18", "dy_resnet18"),
    dynamic("kaijieshi7", "mobilenet_v2", "dy_mobilenet_v2_x1_0"),
    dynamic("tardelean", "resnet18", "dy_resnet18", tau=10.0),
    dynamic("tardelean", "mobilenet_v2", "dy_mobilenet_v2_x1_0", tau=10.0),
    Network("dy_resnet18_tardelean_own", lambda: dynamic_layers.TArdeleanResNet(tau=10.0), None, side=64, batch=1,
            free_batch=False, tau=10.0, dynamic=True, extra_batches=[4]),
]
BY_NAME = {network.name: network for network in NETWORKS}
assert len(BY_NAME) == len(NETWORKS)
