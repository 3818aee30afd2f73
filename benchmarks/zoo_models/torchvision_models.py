"""Models of torchvision: classification, segmentation, video, optical flow; with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from zoo_models.entry import Entry, InputsOf, images

CLASSIFICATION = [
    "alexnet", "convnext_base", "convnext_large", "convnext_tiny", "densenet121", "densenet161", "densenet201",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l", "efficientnet_v2_m",
    "inception_v3", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf",
    "regnet_x_800mf", "regnet_x_8gf", "regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf",
    "regnet_y_3_2gf", "regnet_y_800mf", "regnet_y_8gf", "resnet101", "resnet152", "resnet18", "resnet34",
    "resnet50", "resnext101_64x4d", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0", "squeezenet1_0", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "vgg11", "vgg13",
    "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vit_b_16", "vit_h_14", "vit_l_16", "vit_l_32",
    "wide_resnet101_2",
]  # fmt: skip
SEGMENTATION = ("deeplabv3_resnet101", "deeplabv3_resnet50", "fcn_resnet101", "fcn_resnet50")
VIDEO = {
    "mvit_v1_b": (3, 16, 224, 224),
    "r2plus1d_18": (3, 16, 112, 112),
    "r3d_18": (3, 16, 112, 112),
    "s3d": (3, 16, 224, 224),
    "swin3d_b": (3, 8, 112, 112),
    "swin3d_s": (3, 8, 112, 112),
    "swin3d_t": (3, 8, 112, 112),
}


def entries() -> Iterator[Entry]:
    """Yield the models of torchvision."""
    for name in CLASSIFICATION:
        size = 299 if name == "inception_v3" else 224
        yield Entry(f"torchvision/{name}", "torchvision", partial(_build, name), images(3, size, size))
    for name in SEGMENTATION:
        yield Entry(f"torchvision/{name}", "torchvision", partial(_build, name), images(3, 128, 128))
    for name, shape in VIDEO.items():
        yield Entry(f"torchvision/{name}", "torchvision", partial(_build, name), images(*shape))
    yield Entry("torchvision/raft_large", "torchvision", partial(_build, "raft_large"), _two_frames())


def _build(name: str) -> nn.Module:
    from torchvision import models

    options: dict[str, object] = {"weights": None}
    if name == "inception_v3":
        options["init_weights"] = False
    if name in SEGMENTATION:
        options["weights_backbone"] = None
    make: Callable[..., nn.Module] = models.get_model
    return make(name, **options)


def _two_frames() -> InputsOf:
    def inputs(batch: int) -> tuple[tuple[torch.Tensor, ...], dict[str, object]]:
        first, second = (torch.rand(batch, 3, 128, 128) * 2 - 1 for _ in range(2))
        return (first, second), {"num_flow_updates": 2}

    return inputs
