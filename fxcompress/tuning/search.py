"""The best configuration for one product: a climb from the estimate, one property after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from fxcompress.kernels.gpu.configurations import EIGHT_BITS, sizes_of
from fxcompress.kernels.gpu.table_files import Capability, Config
from fxcompress.tuning.tasks import BITS, Task

OPTIONS = {
    "block_m": (8, 16, 32, 64, 128),
    "block_n": (16, 32, 64, 128, 256),
    "block_k": (16, 32, 64, 128, 256),
    "split_k": (1, 2, 4, 8, 16),
    "num_warps": (4, 8),
    "num_stages": (2, 3, 4, 5),
}
# A step has to gain this much, or noise leads the way.
GAIN = 0.98
MOST_ROUNDS = 4


def climb(start: Config, fits: Callable[[Config], bool], took: Callable[[Config], float]) -> tuple[Config, float]:
    """Return the best configuration that is found from `start` on, and its time.

    Each property is moved to its other values in turn, and stays where it was fastest; until a round changes nothing.

    Args:
        fits: whether a configuration may be tried.
        took: its time, endless where it cannot be run; each configuration is asked for once.
    """
    known: dict[Config, float] = {}

    def time_of(config: Config) -> float:
        if config not in known:
            known[config] = took(config) if fits(config) else math.inf
        return known[config]

    best = start
    for _ in range(MOST_ROUNDS):
        before = best
        for name in (field.name for field in fields(Config)):
            for tried in moved(best, name):
                if time_of(tried) < GAIN * time_of(best):
                    best = tried
        if best == before:
            break
    return best, time_of(best)


def moved(config: Config, name: str) -> Iterator[Config]:
    """Yield `config` with every other value of one property."""
    for value in OPTIONS[name]:
        if value != getattr(config, name):
            yield replace(config, **{name: value})


def fits(task: Task, config: Config, capability: Capability) -> bool:
    """Whether a kernel can be cut like this for a product on a GPU."""
    if config.block_m > max(16, 2 * task.m) or config.split_k * config.block_k > max(task.k, config.block_k):
        return False
    # Some room for scales and for the result on its way out.
    if bytes_of_stage(task, config) * config.num_stages > sizes_of(capability).shared - 20_480:
        return False
    if task.block is not None:
        height, width = task.block
        return config.block_m >= 16 and config.block_n <= max(16, height) and config.block_k >= max(16, width)
    if config.block_n < 64 or config.block_k < 64 or (task.kernel.startswith("gated") and config.block_n < 128):
        return False
    return not task.group or config.block_k % task.group == 0 or task.group % config.block_k == 0


def bytes_of_stage(task: Task, config: Config) -> int:
    """Return the bytes of input and weight that one step along K loads."""
    of_weight = BITS.get(task.kernel, 8 if task.narrow else 16)
    of_input = 8 if task.kernel in EIGHT_BITS else 16
    return config.block_k * (config.block_m * of_input + config.block_n * of_weight) // 8
