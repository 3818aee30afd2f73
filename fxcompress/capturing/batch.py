"""Which sizes of the inputs are the batch, and how export is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ShapesCollection
from torch.utils import _pytree as pytree

from fxcompress.capturing.inputs import Inputs


@dataclass(frozen=True)
class BatchInputs:
    """Inputs to trace a model with, and which of their tensors carry the batch in dimension 0.

    Attributes:
        inputs: tensors of the tracer's own, so that marks of export do not reach the user's.
        carriers: the tensors among them whose dimension 0 is the batch.
    """

    inputs: Inputs
    carriers: tuple[torch.Tensor, ...]

    def shapes(self) -> ShapesCollection | None:
        """Return the dynamic sizes as `torch.export.export` takes them, None where there are none."""
        if not self.carriers:
            return None
        shapes = ShapesCollection()
        for tensor in self.carriers:
            shapes[tensor] = {0: Dim.AUTO}
        return shapes


def batch_inputs(inputs: Inputs) -> BatchInputs:
    """Return copies of `inputs` with one dynamic batch size; a batch of one is doubled, since export fixes ones."""
    size = batch_size(inputs)
    if size is None:
        return static_inputs(inputs)
    made: dict[int, torch.Tensor] = {}
    carriers: list[torch.Tensor] = []

    def alias(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            carries = tensor.dim() > 0 and tensor.shape[0] == size
            fresh = _detached(tensor, double=carries and size == 1)
            made[id(tensor)] = fresh
            if carries:
                carriers.append(fresh)
        return made[id(tensor)]

    return BatchInputs(inputs.map_tensors(alias), tuple(carriers))


def static_inputs(inputs: Inputs) -> BatchInputs:
    """Return copies of `inputs` without any dynamic size."""
    made: dict[int, torch.Tensor] = {}
    copies = inputs.map_tensors(lambda tensor: made.setdefault(id(tensor), _detached(tensor, double=False)))
    return BatchInputs(copies, ())


def _detached(tensor: torch.Tensor, double: bool) -> torch.Tensor:
    fresh = tensor.detach()
    if double:
        fresh = torch.cat([fresh, fresh])
    return fresh.requires_grad_(tensor.requires_grad)


def batch_size(inputs: Inputs) -> int | None:
    """Return the size of dimension 0 of the first tensor of two dimensions or more, else of the first of one.

    None where there is no such tensor, or where the batch is empty.
    """
    tensors = [tensor for tensor in inputs.tensors() if tensor.dim() > 0]
    first = next((tensor for tensor in tensors if tensor.dim() > 1), tensors[0] if tensors else None)
    return None if first is None or first.shape[0] == 0 else int(first.shape[0])


@contextmanager
def one_batch(model: nn.Module, batch: BatchInputs) -> Iterator[None]:
    """Make the tracer of `model` see inside that the batch sizes of all inputs are one and the same number."""
    leaves = pytree.tree_leaves((batch.inputs.args, batch.inputs.kwargs))
    carriers = {id(tensor) for tensor in batch.carriers}
    places = [place for place, leaf in enumerate(leaves) if id(leaf) in carriers]

    def tie(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = pytree.tree_leaves((args, kwargs))
        for place in places[1:]:
            torch._check(given[place].shape[0] == given[places[0]].shape[0])

    hook = model.register_forward_pre_hook(tie, prepend=True, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
