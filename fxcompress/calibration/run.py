"""Runs calibration batches through a graph, and lets observers see the values of some of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self, TypeVar

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.observe import flat_inputs, observe
from fxcompress.capturing import Inputs
from fxcompress.distributed import Share, deal, dealt, merged_row, together
from fxcompress.errors import InputError
from fxcompress.graph.module import CapturedModule

_HINT = "leave the batch out, or mend it"


class Sees(Protocol):
    """What is told of every value of a node; an observer, for one. It merges with what was told of later batches."""

    def update(self, tensor: torch.Tensor) -> None: ...

    def merge(self, other: Self) -> None: ...


T = TypeVar("T", bound=Sees)


def calibrate(
    module: GraphModule, values: Collection[Node], batches: Iterable[Inputs], make: Callable[[Node], T]
) -> dict[Node, T]:
    """Return for each of `values` an observer that has seen what the node gives for each of `batches`.

    Where several processes share the work, each runs some of the batches, and all get what was seen of all.

    Args:
        module: as it is captured; it is left as it was.
        values: nodes that give one floating tensor.
        batches: inputs of the module.
        make: gives a new observer of a node.

    Raises:
        InputError: a batch is empty, holds NaN or does not fit the graph, or makes a value that has no range; the
            message begins with the number of the batch, from 0.
    """
    observers = {node: make(node) for node in values}

    def look(node: Node, value: Any, seconds: float) -> None:
        if node in observers:
            try:
                observers[node].update(value)
            except InputError as error:
                raise InputError(f"%{node.name}: {error.message}", hint=error.hint) from error

    ours = dealt(batches)
    with together():
        for index, batch in ours:
            with numbered(index):
                observe(module, checked(module, batch), look)
    return dict(zip(observers, merged_row(list(observers.values())), strict=True))


def values_of(module: GraphModule, batches: Iterable[Inputs]) -> Share[list[Any]]:
    """Return for each of `batches` that is this process's the values of the placeholders of `module`.

    Raises:
        InputError: as `calibrate` does.
    """
    share = deal(batches)
    found = []
    with together():
        for index, batch in share.numbered():
            with numbered(index):
                found.append(flat_inputs(module, checked(module, batch)))
    return Share(tuple(found), share.first, share.count)


@contextmanager
def numbered(index: int) -> Iterator[None]:
    """Let an InputError from within begin with the number of the calibration batch."""
    try:
        yield
    except InputError as error:
        raise InputError(f"calibration batch {index}: {error.message}", hint=error.hint) from error


def checked(module: GraphModule, batch: Inputs) -> Inputs:
    """Return `batch` in the form of call of `module`."""
    for tensor in batch.tensors():
        if tensor.numel() == 0:
            raise InputError(f"the inputs {batch.describe()} hold no values", hint=_HINT)
        if tensor.isnan().any():
            raise InputError(f"the inputs {batch.describe()} hold NaN", hint=_HINT)
    if not isinstance(module, CapturedModule):
        return batch
    args, kwargs = module.call_form().fit(batch.args, batch.kwargs)
    return Inputs(*args, **kwargs)
