"""Times on the GPU at hand: replayed as a CUDA graph, with more copies of a weight than its caches hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch

from fxcompress.errors import UsageError
from fxcompress.kernels.gpu.launching import run_all
from fxcompress.kernels.gpu.running_dense import dense_weight
from fxcompress.kernels.gpu.table_files import Capability, Config
from fxcompress.tuning.operands import HALF, bytes_of_weight, floats, integers, launches_for
from fxcompress.tuning.replaying import replayed
from fxcompress.tuning.tasks import BITS, Task

# Bytes that surely push what was read before out of the L2 cache, and how many copies of a weight are worth making.
CACHE, MOST_COPIES = 256e6, 64
REPLAYS = 5


class GpuTimer:
    """Measures on the current CUDA device.

    Raises:
        UsageError: there is none, or Triton is not installed.
    """

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise UsageError(
                "tune measures on an NVIDIA GPU, and PyTorch finds none here",
                hint="run it on the machine with the GPU; without a table kernels are cut by estimate",
            )
        self.device = torch.cuda.get_device_name()
        self.capability: Capability = torch.cuda.get_device_capability()

    def kernel(self, task: Task, config: Config) -> float:
        import triton

        try:
            made = [launches_for(task, config, "cuda") for _ in range(copies(task))]
            return min(replayed([functools.partial(run_all, one) for one in made], 1, REPLAYS))
        except (triton.CompilationError, triton.runtime.errors.OutOfResources, triton.runtime.errors.PTXASError):
            # Too large for this GPU: another configuration will do.
            return math.inf

    def dequantized(self, task: Task) -> float:
        bits, rows = BITS[task.kernel], floats(task.m, task.k, dtype=HALF, device="cuda")
        groups = -(-task.k // task.group) if task.group else 1

        def product(weight: torch.Tensor, scales: torch.Tensor) -> None:
            wide = dense_weight(weight, scales, None, bits, task.group, task.k, HALF)
            torch.nn.functional.linear(rows, wide)

        calls: list[Callable[[], object]] = []
        for _ in range(copies(task)):
            dtype = torch.uint8 if bits == 4 else torch.int8
            weight = integers(task.n, -(-task.k * bits // 8), dtype=dtype, device="cuda")
            scales = floats(task.n, groups, dtype=torch.float32, device="cuda")
            calls.append(functools.partial(product, weight, scales))
        return min(replayed(calls, 1, REPLAYS))


def copies(task: Task) -> int:
    """Return how many copies of a weight no cache holds together."""
    return max(4, min(MOST_COPIES, math.ceil(CACHE / bytes_of_weight(task))))
