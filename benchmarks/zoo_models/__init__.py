"""175 architectures to try a compiler on: torchvision, timm and transformers, random weights, no download."""

from __future__ import annotations

from collections.abc import Iterator

from zoo_models import timm_models, torchvision_models, transformers_models
from zoo_models.entry import Entry as Entry
from zoo_models.operators import import_torchvision as import_torchvision

# What the models come from, and how to install it beside the torch that is there.
INSTALL = {
    "torchvision": "pip install --no-deps torchvision==0.28.0",
    "timm": "pip install timm",
    "transformers": "pip install transformers",
}


def entries() -> Iterator[Entry]:
    """Yield the whole zoo, small models first."""
    heavy = []
    for entry in (*transformers_models.entries(), *timm_models.entries(), *torchvision_models.entries()):
        if entry.name.partition("/")[2] in HEAVY:
            heavy.append(entry)
        else:
            yield entry
    yield from heavy


HEAVY = frozenset(
    {
        "deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_88m", "pnasnet5large", "samvit_base_patch16_224",
        "convnext_base", "convnext_large", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l",
        "regnet_x_16gf", "regnet_x_32gf", "regnet_y_16gf", "regnet_y_32gf", "regnet_y_128gf", "vgg19", "vgg19_bn",
        "vit_l_16", "vit_l_32", "vit_h_14", "mvit_v1_b", "s3d", "swin3d_b", "swin3d_s", "raft_large",
    }
)  # fmt: skip
