"""Which kernel takes a linear: of those that do not refuse it, the one that is predicted to be the fastest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fxcompress.contract.kernels import Device, Kernel, Linear

# Predictions that differ by less are equal, and the priority decides.
ALIKE = 1.02
MOST_ROWS = 1 << 20


@dataclass(frozen=True)
class Decision:
    """What becomes of a linear.

    Attributes:
        kernel: the one that is taken; None where every kernel refuses.
        microseconds: predicted, of the kernels that take it.
        refused: why the others do not, by their names.
        until: the number of rows from which on another choice is right; None where there is none.
        then: the name of that choice.
    """

    kernel: Kernel | None
    microseconds: dict[str, float]
    refused: dict[str, str]
    until: int | None = None
    then: str = ""

    @property
    def took(self) -> float:
        """The microseconds of the kernel that is taken, endless where there is none."""
        return math.inf if self.kernel is None else self.microseconds[self.kernel.name]


def decide(linear: Linear, kernels: Iterable[Kernel], device: Device) -> Decision:
    """Return the kernel that is predicted to be the fastest for `linear` on `device`."""
    willing: list[Kernel] = []
    refused: dict[str, str] = {}
    for kernel in kernels:
        why = "one of its linears gates the other" if linear.gated and not kernel.gated else kernel.refuses(linear)
        if why is None:
            willing.append(kernel)
        else:
            refused[kernel.name] = why
    if not willing:
        return Decision(None, {}, refused)
    took = {kernel.name: kernel.cost(linear, device) for kernel in willing}
    chosen = fastest(willing, took)
    until, then = break_even(linear, willing, device, chosen)
    return Decision(chosen, took, refused, until, then)


def fastest(kernels: Iterable[Kernel], took: dict[str, float]) -> Kernel:
    """Return the kernel of least time; of those that hardly differ from it the one with the highest priority."""
    least = min(took.values())
    near = [kernel for kernel in kernels if took[kernel.name] <= least * ALIKE]
    return min(near, key=lambda kernel: (-kernel.priority, took[kernel.name]))


def break_even(linear: Linear, kernels: list[Kernel], device: Device, chosen: Kernel) -> tuple[int | None, str]:
    """Return from how many rows on another kernel is faster than `chosen`, and which; None and "" where none is."""

    def best(rows: int) -> Kernel:
        moved = replace(linear, rows=rows)
        return fastest(kernels, {kernel.name: kernel.cost(moved, device) for kernel in kernels})

    low, high = linear.rows, linear.rows
    while best(high) is chosen:
        if high >= MOST_ROWS:
            return None, ""
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if best(middle) is chosen else (low, middle)
    return high, best(high).name
