"""Microseconds of a call on a GPU, with weights that the cache does not hold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch

from fxcompress.tuning.replaying import replayed

Call = Callable[[], object]
# Copies of the weights that are read in turn, so that the second-level cache serves none of them.
COPIES = 4


class Timer(Protocol):
    """Tells how long calls take."""

    def microseconds(self, calls: Sequence[Call]) -> float:
        """Return the time of one call, where `calls` are the same work on weights of their own."""


class GraphTimer:
    """Replays a CUDA graph of the calls in turn: what Python does between them is not counted.

    Args:
        rounds: how often all calls stand in the graph.
        replays: how often the graph is measured; the median counts.
    """

    def __init__(self, rounds: int = 8, replays: int = 25) -> None:
        self.rounds, self.replays = rounds, replays

    def microseconds(self, calls: Sequence[Call]) -> float:
        return statistics.median(replayed(calls, self.rounds, self.replays))


def rates_of_device(timer: Timer, device: str = "cuda", size: int = 8192) -> tuple[float, float]:
    """Return what the device reads in bytes a second, and its bf16 operations a second, both measured.

    Args:
        size: side of the matrices.
    """
    matrices = [torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(COPIES)]
    product = torch.empty_like(matrices[0])
    reading = timer.microseconds([partial(torch.amax, matrix) for matrix in matrices])
    multiplying = timer.microseconds([partial(torch.mm, matrix, matrices[0], out=product) for matrix in matrices])
    return 1e6 * size * size * 2 / reading, 1e6 * 2 * size**3 / multiplying
