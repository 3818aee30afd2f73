"""How long calls take on a GPU when a CUDA graph replays them: what Python does between them is not counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch


def replayed(calls: Sequence[Callable[[], object]], rounds: int, replays: int) -> list[float]:
    """Return the microseconds of a call, in the mean of each of `replays` of a graph with all calls in turn.

    Args:
        calls: the same work on operands of their own; they run before, so that what the first call makes is made.
        rounds: how often all of them stand in the graph.
    """
    graph = _captured(calls, rounds)
    found = []
    for _ in range(replays):
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        found.append(1000 * started.elapsed_time(ended) / (rounds * len(calls)))
    return found


def _captured(calls: Sequence[Callable[[], object]], rounds: int) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in (*calls, *calls):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            for call in calls:
                call()
    graph.replay()
    torch.cuda.synchronize()
    return graph
