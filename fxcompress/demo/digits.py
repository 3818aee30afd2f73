"""Real digit images, and a small convolutional network with batch norm and residual blocks that reads them.

The images are scikit-learn's copy of the test part of "Optical Recognition of Handwritten Digits" (Alpaydin, Kaynak,
1998): 1,797 images of 8x8 pixels. The network is trained on 1,297 of them; the other 500 are shown to the finished
one only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from fxcompress.contract import TrainingData
from fxcompress.errors import UsageError

UNSEEN, BATCH, EPOCHS, SEED = 500, 64, 8, 0
CACHE = Path("demo-output") / "digits.safetensors"


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm, and what came in added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(inner)))


class DigitNet(nn.Module):
    """Images f32[batch, 1, 8, 8] of values from 0 to 1 -> logits f32[batch, 10]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(width)
        self.block1 = Residual(width)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.down_bn = nn.BatchNorm2d(2 * width)
        self.block2 = Residual(2 * width)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.block1(F.relu(self.stem_bn(self.stem(image))))
        x = self.block2(F.relu(self.down_bn(self.down(x))))
        logits: torch.Tensor = self.head(self.drop(x.mean((2, 3))))
        return logits


@dataclass(frozen=True)
class Images:
    """Images f32[n, 1, 8, 8] and their digits i64[n]."""

    pixels: torch.Tensor
    digits: torch.Tensor

    def batches(self, generator: torch.Generator | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield batches, shuffled where a generator is given."""
        count = len(self.digits)
        order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
        for rows in order.split(BATCH):
            yield self.pixels[rows], self.digits[rows]


def load_images() -> tuple[Images, Images]:
    """Return the images to train on and the images to evaluate on, always the same.

    Raises:
        UsageError: scikit-learn, which brings the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError("the demo's images come with scikit-learn", hint="pip install scikit-learn") from error
    bunch = load_digits()
    pixels = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    digits = torch.tensor(bunch.target, dtype=torch.int64)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(SEED))
    seen, unseen = order[UNSEEN:], order[:UNSEEN]
    return Images(pixels[seen], digits[seen]), Images(pixels[unseen], digits[unseen])


def train_network(images: Images) -> DigitNet:
    """Return a network trained on `images`; about 20 seconds on two cores."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = DigitNet()
        generator = torch.Generator().manual_seed(SEED)
        steps = EPOCHS * -(-len(images.digits) // BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
        for _ in range(EPOCHS):
            for pixels, digits in images.batches(generator):
                optimizer.zero_grad()
                F.cross_entropy(network(shifted(pixels, generator)), digits).backward()
                optimizer.step()
                schedule.step()
    return network.eval()


def shifted(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the batch moved by up to one pixel in each direction."""
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    padded = F.pad(pixels, (1, 1, 1, 1))
    return padded[:, :, 1 + down : 9 + down, 1 + right : 9 + right]


def accuracy(module: Callable[..., torch.Tensor], images: Images) -> float:
    """Return the percentage of `images` whose digit `module` names."""
    with torch.no_grad():
        right = sum(int((module(pixels).argmax(1) == digits).sum()) for pixels, digits in images.batches())
    return 100 * right / len(images.digits)


def trained(cache: Path = CACHE) -> dict[str, Any]:
    """The factory: the trained network, inputs, and data, as the command line takes them; trained at first use."""
    seen, unseen = load_images()
    network = DigitNet().eval()
    if cache.is_file():
        network.load_state_dict(load_file(cache))
    else:
        network = train_network(seen)
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".partial")
        save_file(network.state_dict(), partial)
        partial.replace(cache)
    return {
        "model": network,
        "inputs": (unseen.pixels[:BATCH],),
        "calibration": [(seen.pixels[: 4 * BATCH],)],
        "evaluate": lambda module: accuracy(module, unseen),
        "train": TrainingData(list(seen.batches()), F.cross_entropy),
    }
