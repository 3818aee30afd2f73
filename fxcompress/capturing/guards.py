"""Which batch sizes a traced graph holds for: read off the ways that the model's own code chose by the batch size."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxcompress.graph.parameters import BatchSizes

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parent)
# Sizes to try conditions with: all small ones, and those around powers of two.
_SAMPLES = tuple(sorted({*range(1, 67), *(2**power + step for power in range(7, 14) for step in (-1, 0, 1))}))


class UnevenBatchSizes(Exception):
    """The sizes that a graph holds for are not the multiples of a number within bounds."""


def batch_sizes(program: ExportedProgram) -> BatchSizes | None:
    """Return the batch sizes that `program` holds for, None where it holds for all.

    Conditions that operations of torch raise (which layout, which kernel) do not count: they hold, or the operation
    itself fails at run time. Those of the model's code choose what the graph computes.

    Raises:
        UnevenBatchSizes: the sizes cannot be told by bounds and a factor.
    """
    env = _shape_env(program)
    conditions = (
        {env.simplify(guard.expr) for guard in env.guards if _by_the_model(guard)} if env is not None else set()
    )
    conditions = {condition for condition in conditions if len(condition.free_symbols) == 1}

    def holds(size: int) -> bool:
        return all(_holds(condition, size) for condition in conditions)

    allowed = [size for size in _SAMPLES if holds(size)]
    return None if len(allowed) == len(_SAMPLES) else _fitted(allowed, holds)


def _shape_env(program: ExportedProgram) -> ShapeEnv | None:
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if isinstance(value, FakeTensor) and value.fake_mode.shape_env is not None:
            return value.fake_mode.shape_env
    return None


def _by_the_model(guard: Any) -> bool:
    """Whether the condition of a guard was asked for outside of torch and of this package."""
    frame = guard.sloc.framework_loc
    place = str(getattr(frame, "filename", frame))
    return not place.startswith((_TORCH, _OURS))


def _holds(condition: sympy.Basic, size: int) -> bool:
    (symbol,) = condition.free_symbols
    return bool(condition.xreplace({symbol: sympy.Integer(size)}) == sympy.true)


def _fitted(allowed: list[int], holds: Callable[[int], bool]) -> BatchSizes:
    """Return the bounds and the factor that give exactly `allowed` of the samples."""
    if not allowed:
        raise UnevenBatchSizes
    factor = math.gcd(*allowed) if len(allowed) > 1 else 1
    top, bottom = max(allowed), min(allowed)
    bounded = top + factor <= max(_SAMPLES)
    while bounded and holds(top + factor):
        top += factor
    while bottom > factor and holds(bottom - factor):
        bottom -= factor
    fitted = BatchSizes(0 if bottom <= factor else bottom, top if bounded else None, factor)
    if [size for size in _SAMPLES if size in fitted] != allowed:
        raise UnevenBatchSizes
    return fitted
