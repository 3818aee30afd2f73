"""Losses of whole batches: each process computes its slice of the results, and has all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs
from fxcompress.capturing.batch import batch_size
from fxcompress.distributed.links import stacked
from fxcompress.distributed.ranks import rank, world
from fxcompress.distributed.slices import cut_to, part_of


class WholeBatch:
    """What stands in for a module where a loss compares samples with each other.

    It is called with a whole batch, which all processes have; each runs `call` on its slice, and the results of all are
    put together. The gradient that comes back goes to the slice that a result came from, times the number of
    processes: so the mean over the processes of all gradients is that of the loss, for parameters that are used on
    whole batches, too.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return by_slices(lambda inputs: inputs.call(self.call), Inputs(*args, **kwargs))


def by_slices(call: Callable[[Inputs], Any], inputs: Inputs) -> Any:
    """Return what `call` gives for a batch, of which each process computes its slice.

    Tensors among the results that are as long as the slice are put together; what else there is stays as it is.
    """
    size = batch_size(inputs) or 0
    counts = [len(part_of(size, place)) for place in range(world())]
    (args, kwargs) = cut_to((inputs.args, inputs.kwargs), size, part_of(size, rank()))

    def joined(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or leaf.dim() == 0 or len(leaf) != counts[rank()]:
            return leaf
        made: torch.Tensor = _Joined.apply(leaf, counts)
        return made

    return pytree.tree_map(joined, call(Inputs(*args, **kwargs)))


class _Joined(torch.autograd.Function):
    """The slices of all processes, one behind the other."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, counts: list[int]) -> torch.Tensor:
        ctx.start, ctx.end = sum(counts[: rank()]), sum(counts[: rank() + 1])
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        rows = stacked(padded)
        return torch.cat([row[:count] for row, count in zip(rows, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient[ctx.start : ctx.end] * world(), None
