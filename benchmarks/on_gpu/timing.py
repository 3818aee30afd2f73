"""Microseconds of a call on a GPU, with weights that the cache does not hold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch

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
        graph = self._captured(calls)
        times = []
        for _ in range(self.replays):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(1000 * start.elapsed_time(end))
        return float(statistics.median(times)) / (self.rounds * len(calls))

    def _captured(self, calls: Sequence[Call]) -> torch.cuda.CUDAGraph:
        # What is compiled or packed at the first call is so before.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for call in (*calls, *calls):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(self.rounds):
                for call in calls:
                    call()
        graph.replay()
        torch.cuda.synchronize()
        return graph


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
