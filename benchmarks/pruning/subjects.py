"""The networks that are pruned for quality: trained ones, with real images to tune and to evaluate them on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fxcompress.demo.digits import DigitNet, Images, load_images, shifted
from pruning.mnist import mnist_images, mnist_network
from pruning.training import trained


@dataclass(frozen=True)
class Subject:
    """A trained network and its data.

    Attributes:
        name: what the tables call it.
        network: in evaluation mode; nobody changes it.
        seen: images to tune on, and to calibrate with.
        unseen: images to evaluate on.
        head: path of the layer whose outputs are the digits, which nobody may prune.
        rate: learning rate of the tuning.
    """

    name: str
    network: nn.Module
    seen: Images
    unseen: Images
    head: str
    rate: float

    @property
    def image(self) -> torch.Tensor:
        """One image, f32[1, 1, height, width]."""
        return self.unseen.pixels[:1]

    def calibration(self, count: int, seed: int) -> list[torch.Tensor]:
        """Return `count` images without their digits, in batches, drawn from those to tune on."""
        order = torch.randperm(len(self.seen.digits), generator=torch.Generator().manual_seed(seed))
        return list(self.seen.pixels[order[:count]].split(256))


def digits(seed: int, quick: bool) -> Subject:
    """The demo's network on 8x8 digits, trained from scratch for every seed."""
    seen, unseen = load_images()
    return Subject("digits", _digits_network(seed, 2 if quick else 8), seen, unseen, "head", 1e-3)


@functools.cache
def _digits_network(seed: int, epochs: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DigitNet()
    return trained(network, load_images()[0], epochs=epochs, rate=3e-3, seed=seed, move=shifted)


def mnist(seed: int, quick: bool) -> Subject:
    """The network of `ccexam` on MNIST; its weights are the same for every seed."""
    seen, unseen = mnist_images()
    if quick:
        seen, unseen = first(seen, 2000), first(unseen, 1000)
    return Subject("mnist", mnist_network(), seen, unseen, "classifier.2", 1e-3)


def first(images: Images, count: int) -> Images:
    return Images(images.pixels[:count], images.digits[:count])


SUBJECTS: dict[str, Callable[[int, bool], Subject]] = {"digits": digits, "mnist": mnist}
