"""What is tuned: a kernel for one product."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fxcompress.errors import UsageError
from fxcompress.kernels.gpu.configurations import EIGHT_BITS, GATED, WEIGHT_ONLY
from fxcompress.text import suggestion

# Names of kernels in tables, and the bits of a weight.
BITS = {
    **{name: bits for names in (WEIGHT_ONLY, GATED) for bits, name in names.items()},
    **dict.fromkeys(EIGHT_BITS, 8),
}
_BLOCKS = re.compile(r"block-sparse-(int8-)?(\d+)x(\d+)")
BLOCKS = ("block-sparse-128x16", "block-sparse-128x32", "block-sparse-64x32")
# Columns that share a scale, by the kernel's bits.
GROUPS = {4: (0, 32, 128), 8: (0,)}
# Part of the blocks that is kept where blocks are tuned.
KEPT = 0.2


@dataclass(frozen=True, order=True)
class Task:
    """A product [m, k] x [n, k]^T by a kernel; of stored blocks, k is what a row of blocks keeps.

    Attributes:
        kernel: its name in tables.
        group: columns that share a scale, 0 for all.
    """

    kernel: str
    m: int
    n: int
    k: int
    group: int = 0

    @property
    def block(self) -> tuple[int, int] | None:
        """The size of a stored block, None for another kernel."""
        found = _BLOCKS.fullmatch(self.kernel)
        return (int(found.group(2)), int(found.group(3))) if found else None

    @property
    def narrow(self) -> bool:
        """Whether stored blocks are int8."""
        return self.kernel.startswith("block-sparse-int8")

    def __str__(self) -> str:
        grouped = f", groups of {self.group}" if self.group else ""
        return f"{self.kernel}: {self.m} rows, {self.k} to {self.n}{grouped}"


def tasks_for(
    kernels: Sequence[str], shapes: Iterable[tuple[int, int]], rows: Iterable[int], fp8: bool = True
) -> list[Task]:
    """Return what to tune for weights of `shapes`, [outputs, features], and numbers of rows of the input.

    Args:
        kernels: names in tables; all where none are given.
        fp8: whether the GPU multiplies floats of 8 bits.

    Raises:
        UsageError: there is no such kernel, with the nearest name.
    """
    known = (*BITS, *BLOCKS)
    for name in kernels:
        if name not in known and not _BLOCKS.fullmatch(name):
            raise UsageError(f"there is no kernel {name!r} to tune", hint=suggestion(name, known))
    shapes, rows = list(shapes), list(rows)
    chosen = [name for name in (kernels or known) if fp8 or name != "fp8"]
    return [
        task for name in chosen for n, k in shapes for group in groups_of(name) for m in rows
        if (task := _task(name, m, n, k, group)) is not None
    ]  # fmt: skip


def groups_of(kernel: str) -> tuple[int, ...]:
    return GROUPS[BITS[kernel]] if kernel in BITS and kernel not in EIGHT_BITS else (0,)


def _task(kernel: str, m: int, n: int, k: int, group: int) -> Task | None:
    block = Task(kernel, m, n, k).block
    if block is None:
        return None if group and k % group else Task(kernel, m, n, k, group)
    kept = max(1, round(KEPT * k / block[1])) * block[1]
    return Task(kernel, m, n, kept)
