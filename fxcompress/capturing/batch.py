"""Which sizes of the inputs are the batch, and how export is told so."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from torch.fx import Graph
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

    def shapes(self, model: nn.Module) -> dict[str, Any] | None:
        """Return the dynamic sizes as `torch.export.export` takes them for `model`, None where there are none."""
        if not self.carriers:
            return None
        carriers = {id(tensor) for tensor in self.carriers}
        given = inspect.signature(model.forward).bind(*self.inputs.args, **self.inputs.kwargs).arguments
        return pytree.tree_map(lambda leaf: {0: Dim.AUTO} if id(leaf) in carriers else None, dict(given))  # type: ignore[no-any-return]


def batch_inputs(inputs: Inputs) -> BatchInputs:
    """Return copies of `inputs` with one dynamic batch size; a batch of one is doubled, since export fixes ones.

    A tensor that is given twice becomes two, since export would take both for one input.
    """
    size = batch_size(inputs)
    carriers: list[torch.Tensor] = []

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        carries = size is not None and tensor.dim() > 0 and tensor.shape[0] == size
        fresh = _detached(tensor, double=carries and size == 1)
        if carries:
            carriers.append(fresh)
        return fresh

    return BatchInputs(inputs.map_tensors(copy), tuple(carriers))


def static_inputs(inputs: Inputs) -> BatchInputs:
    """Return copies of `inputs` without any dynamic size."""
    return BatchInputs(inputs.map_tensors(lambda tensor: _detached(tensor, double=False)), ())


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


def takes_any_size(graph: Graph) -> bool:
    """Whether an input of `graph` has a size that is a symbol."""
    values = (node.meta.get("val") for node in graph.find_nodes(op="placeholder"))
    sizes: list[Any] = [size for value in values if isinstance(value, torch.Tensor) for size in value.shape]
    return any(isinstance(size, torch.SymInt) and not size.node.expr.is_number for size in sizes)
