"""A network on MNIST with a tenth of its multiply-accumulates: labels alone, or a teacher too, live or captured."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator

import torch
from measured import Row
from pruning.mnist import mnist_images, mnist_network
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress.demo.digits import Images

NOBODY_SAYS = -1
LABELLED = 1000
BATCH = 64
PRUNE = "prune{macs=0.1 scope=global round_to=1 ignore=classifier.2}"
WAYS = ("pruned", "labels", "distilled", "cached")
SOFT = "losses=soft,hard temperature=4"


def rows(seeds: int, epochs: int, part: int | None = None) -> Iterator[Row]:
    """Yield a row for each way to teach the student, for each seed, with all labels and with few.

    Args:
        epochs: passes over the 60,000 images.
        part: take only so many of the images, to see that it works.
    """
    seen, unseen = mnist_images()
    if part is not None:
        seen, unseen = first(seen, part), first(unseen, part)
    yield {"part": "mnist", "way": "teacher", "accuracy": accuracy(mnist_network(), unseen)}
    few = LABELLED if part is None else part // 10
    for seed, labels, way in itertools.product(range(seeds), (len(seen.digits), few), WAYS):
        yield {"part": "mnist", "labels": labels, "seed": seed, **taught(way, labels, seen, unseen, seed, epochs)}


def taught(way: str, labels: int, seen: Images, unseen: Images, seed: int, epochs: int) -> Row:
    """Return how a student of the network does that was taught in one way."""
    text, train = PRUNE, feed(seen, labels)
    with tempfile.TemporaryDirectory() as folder:
        if way == "labels":
            # As many steps as the others take, over the images that have a label.
            few = feed(first(seen, labels), labels)
            repeats = epochs * len(seen.digits) // labels
            text, train = f"{PRUNE},finetune{{epochs={repeats}}}", few
        if way == "distilled":
            text = f"{PRUNE},distill{{epochs={epochs} {SOFT}}}"
        if way == "cached":
            capture = f"capture-teacher{{sink=disk to={folder}}}"
            text = f"{capture},{PRUNE},distill{{epochs={epochs} {SOFT} teacher={folder}}}"
        start = time.perf_counter()
        result = fxc.compress(mnist_network(), (unseen.pixels[:1],), text, train=train, seed=seed, diffs=False)
        seconds = time.perf_counter() - start
    losses = result.stages[-1].details.get("losses", [])
    return {
        "way": way,
        "accuracy": accuracy(result.module, unseen),
        "seconds": seconds,
        "steps": result.stages[-1].statistics.get("steps", 0),
        "loss": losses[-1] if losses else None,
        "parameters": sum(one.numel() for one in result.module.parameters()),
        "pipeline": text.replace(folder, "FOLDER"),
    }


def feed(seen: Images, labels: int) -> fxc.TrainingData:
    """Return batches of all images, of which the first `labels` say what they show."""
    digits = seen.digits.clone()
    digits[labels:] = NOBODY_SAYS
    return fxc.TrainingData(Shuffled(seen.pixels, digits), of_labelled)


class Shuffled:
    """Batches in a new order each epoch, cut from whole tensors: a DataLoader makes a call for every image."""

    def __init__(self, pixels: torch.Tensor, digits: torch.Tensor) -> None:
        self.pixels, self.digits = pixels, digits

    def __len__(self) -> int:
        return -(-len(self.digits) // BATCH)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for places in torch.randperm(len(self.digits)).split(BATCH):
            yield self.pixels[places], self.digits[places]


def of_labelled(logits: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of the images of a batch that have a label, 0 where none has."""
    total = functional.cross_entropy(logits, digits, ignore_index=NOBODY_SAYS, reduction="sum")
    return total / (digits != NOBODY_SAYS).sum().clamp_min(1)


def first(images: Images, count: int) -> Images:
    return Images(images.pixels[:count], images.digits[:count])


@torch.no_grad()
def accuracy(network: nn.Module, images: Images) -> float:
    """Return the percentage of images whose digit is seen."""
    found = torch.cat([network(pixels).argmax(1) for pixels in images.pixels.split(500)])
    return 100 * float((found == images.digits).double().mean())
