"""The instrument `memory`: how much memory a pass needs at its peak."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from fxcompress.analysis.measure import StorageTracker
from fxcompress.graph.tensors import named_tensors
from fxcompress.pipeline import Step

MEASUREMENT = "peak_memory_bytes"


class PeakMemory:
    """Leaves in `stage.measurements["peak_memory_bytes"]` the most bytes of tensors that a pass held at a time.

    What stood before the pass does not count, nor does the work of the instruments around it. On a CUDA device it is
    what the caching allocator says, for the device of the model. On the CPU the storages that operations give are
    followed until they are freed, which makes the pass itself slower: `stage.seconds` includes that.
    """

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        device = device_of(step)
        measured = cuda_peak(device) if device.type == "cuda" else cpu_peak()
        with measured as peak:
            yield
            step.measurements[MEASUREMENT] = peak()


def device_of(step: Step) -> torch.device:
    """Return the device that the first tensor of the module lies on, the CPU for a module without any."""
    first = next((tensor for _, tensor in named_tensors(step.module)), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def cpu_peak() -> Iterator[Callable[[], int]]:
    """Hand out a function that returns the most bytes of tensors that were held at a time since it was entered."""
    with StorageTracker() as tracker:
        yield lambda: tracker.peak


@contextmanager
def cuda_peak(device: torch.device) -> Iterator[Callable[[], int]]:
    """Hand out the same as `cpu_peak`, by the counters of the CUDA allocator, which are reset."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)

    def peak() -> int:
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)

    yield peak
