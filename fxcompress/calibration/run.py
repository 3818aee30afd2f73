"""Runs calibration batches through a graph, and lets observers see the values of some of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.observe import buffers_restored, flat_inputs
from fxcompress.calibration.observation import Sees, observed
from fxcompress.calibration.saying import now_and_then, silent
from fxcompress.capturing import Inputs
from fxcompress.distributed import Share, deal, dealt, merged_row, together
from fxcompress.errors import InputError
from fxcompress.graph.module import CapturedModule

_HINT = "leave the batch out, or mend it"

T = TypeVar("T", bound=Sees)


def calibrate(
    module: GraphModule,
    values: Collection[Node],
    batches: Iterable[Inputs],
    make: Callable[[Node], T],
    say: Callable[[str], None] = silent,
) -> dict[Node, T]:
    """Return for each of `values` an observer that has seen what the node gives for each of `batches`.

    The observers stand as nodes in a copy of the graph that shares its tensors (see `observed`), which runs as a plain
    module. The copy is dropped when all batches have run, or one has failed. So `module` is left as it was, whatever
    happens; what a run writes into buffers is put back after each batch.

    Where several processes share the work, each runs some of the batches, and all get what was seen of all.

    Args:
        module: as it is captured.
        values: nodes that give one floating tensor; one that is named twice has one observer.
        batches: inputs of the module.
        make: gives a new observer of a node.
        say: is told every now and then how many batches have run.

    Raises:
        InputError: a batch is empty, holds NaN or does not fit the graph, or makes a value that has no range; the
            message begins with the number of the batch, from 0.
        UsageError: one of `values` is of another graph.
    """
    observers = {node: make(node) for node in values}
    running = observed(module, observers)
    with together():
        for index, batch in now_and_then(dealt(batches), "calibration, batches", say):
            with numbered(index), torch.no_grad(), buffers_restored(module):
                checked(module, batch).call(running)
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
        flat_inputs(module, batch)
        return batch
    args, kwargs = module.call_form().fit(batch.args, batch.kwargs)
    return Inputs(*args, **kwargs)
