"""Seconds and bytes that a call takes, measured so that a noisy machine does little harm."""

from __future__ import annotations

import gc
import math
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

Call = Callable[[], object]

# A round lasts at least this long, so that the clock and the loop around the call do not show.
ROUND_SECONDS = 1e-3
FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Latency:
    """Seconds that a call takes.

    Attributes:
        median: of all rounds.
        low: the first quartile.
        high: the third quartile.
        rounds: how many there were.
    """

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """Seconds between the quartiles."""
        return self.high - self.low


def latency(
    call: Call, *, rounds: int = 50, budget_seconds: float = 2.0, device: torch.device | str = "cpu"
) -> Latency:
    """Return the seconds that `call` takes; see `paired_latency`."""
    return paired_latency({"": call}, rounds=rounds, budget_seconds=budget_seconds, device=device)[""]


def paired_latency(
    calls: Mapping[str, Call],
    *,
    rounds: int = 50,
    budget_seconds: float = 2.0,
    device: torch.device | str = "cpu",
) -> dict[str, Latency]:
    """Return the seconds that each of `calls` takes, measured in turns, so that drift of the machine hits all alike.

    Every call is warmed up; a short one is repeated within its round. Calls take turns in going first. It ends after
    `rounds`, or when the budget is spent, but not before three rounds.

    Args:
        calls: name -> what to measure.
        rounds: the most rounds.
        budget_seconds: for all calls together, warm-up included.
        device: where the calls compute; on a CUDA device the time is that between two events of the current stream.
    """
    clock = cuda_seconds if torch.device(device).type == "cuda" else cpu_seconds
    start = time.perf_counter()
    repeats = {name: _warmed_up(call, clock, budget_seconds / (10 * len(calls))) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    with garbage_collection_off():
        for count in range(max(rounds, FEWEST_ROUNDS)):
            if count >= FEWEST_ROUNDS and time.perf_counter() - start > budget_seconds:
                break
            for name in order:
                seconds[name].append(clock(calls[name], repeats[name]) / repeats[name])
            order.append(order.pop(0))
    return {name: summary(taken) for name, taken in seconds.items()}


def _warmed_up(call: Call, clock: Callable[[Call, int], float], budget_seconds: float) -> int:
    """Call until times settle or a share of the budget is spent; return how often to call in a round."""
    start = time.perf_counter()
    call()
    taken = clock(call, 1)
    while time.perf_counter() - start < budget_seconds:
        before, taken = taken, min(taken, clock(call, 1))
        if taken > 0.95 * before:
            break
    return max(1, math.ceil(ROUND_SECONDS / max(taken, 1e-9)))


def summary(seconds: list[float]) -> Latency:
    """Return median and quartiles of `seconds`."""
    if len(seconds) == 1:
        return Latency(seconds[0], seconds[0], seconds[0], 1)
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Latency(median, low, high, len(seconds))


def cpu_seconds(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - start


def cuda_seconds(call: Call, repeats: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


@contextmanager
def garbage_collection_off() -> Iterator[None]:
    """Keep Python's cycle collector from running in the middle of a measurement."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def peak_memory(call: Call, *, device: torch.device | str = "cpu") -> int:
    """Return the most bytes of tensors that `call` holds at a time, above what stood before; it is called once.

    On a CUDA device that is what the caching allocator says. On the CPU every storage that an op gives is followed
    until it is freed: exact for tensors, while what a kernel takes for itself and returns inside one op is not seen.
    """
    if torch.device(device).type == "cuda":
        return _cuda_peak(call, torch.device(device))
    tracker = StorageTracker()
    with tracker:
        call()
    return tracker.peak


def _cuda_peak(call: Call, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device)) - int(before)


class StorageTracker(TorchDispatchMode):
    """Follows the storages that are made while it is entered.

    Attributes:
        current: bytes of those that are still held.
        peak: the most bytes of them that were held at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {storage._cdata for storage in _storages((args, kwargs))}
        result = func(*args, **kwargs)
        # Arguments once more, since an op may grow the storage of what it writes into.
        for storage in _storages((result, args, kwargs)):
            if storage._cdata in self._sizes:
                self._resize(storage._cdata, storage.nbytes())
            elif storage._cdata not in given:
                self._sizes[storage._cdata] = 0
                self._resize(storage._cdata, storage.nbytes())
                weakref.finalize(storage, self._freed, storage._cdata).atexit = False
        return result

    def _resize(self, key: int, size: int) -> None:
        self.current += size - self._sizes[key]
        self._sizes[key] = size
        self.peak = max(self.peak, self.current)

    def _freed(self, key: int) -> None:
        self.current -= self._sizes.pop(key)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    leaves = pytree.tree_leaves(values)
    return [
        leaf.untyped_storage() for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided
    ]
