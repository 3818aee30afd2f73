"""Removing slots: carriers are sliced, and every constant of the graph that mentions a pruned size is rewritten."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import Value
from fxcompress.analysis.axes.groups import Kept
from fxcompress.analysis.axes.sizes import is_dynamic
from fxcompress.graph.tensors import is_persistent, named_tensors, put_tensor
from fxcompress.pruning.removing.constants import rewrite_constants
from fxcompress.pruning.removing.corrections import correct
from fxcompress.pruning.removing.places import Dims, Indices, Plan, Staying, taken
from fxcompress.pruning.removing.shuffles import rewrite_gathers
from fxcompress.pruning.removing.taps import give_back


def remove(module: GraphModule, axes: Axes, kept: Kept) -> Plan:
    """Remove from `module` what `kept` does not keep.

    Every node gets the sizes that the axes predict in `meta["predicted"]`; `propagate` fails where one comes out
    otherwise. `meta["val"]` is that of before until then.

    Returns:
        The positions that stay of every tensor that lost some, tied ones under all their names.
    """
    nodes = list(module.graph.nodes)
    left = Staying(axes, kept)
    give_back(module, axes, kept)
    for node in nodes:
        if node in axes.values:
            node.meta["predicted"] = tuple(_sizes(value, kept) for value in axes.values[node])
            if node.op == "call_function":
                rewrite_constants(axes, kept, node)
                correct(axes, kept, node)
    rewrite_gathers(axes, kept)
    plan = _plan(module, axes, left)
    _slice(module, plan)
    return plan


def _sizes(value: Value | None, kept: Kept) -> tuple[int | None, ...] | None:
    """Return the sizes that are left of a tensor, None for a dynamic one."""
    if value is None:
        return None
    sizes = (kept.size(axis.term) if axis.size > 1 else axis.size for axis in value.axes)
    return tuple(None if is_dynamic(size) else size for size in sizes)


def _plan(module: GraphModule, axes: Axes, left: Staying) -> Plan:
    names: dict[int, list[str]] = {}
    held: dict[str, int] = {}
    for path, tensor in named_tensors(module):
        names.setdefault(id(tensor), []).append(path)
        held[path] = id(tensor)
    plan: Plan = {}
    for path, value in axes.stored.items():
        dims = left.dims(value)
        if dims:
            plan |= dict.fromkeys(names[held[path]], dims)
    return plan


def _slice(module: GraphModule, plan: Plan) -> None:
    """Replace the tensors of `plan` by what is left of them; tied ones stay tied."""
    made: dict[int, torch.Tensor] = {}
    indices = Indices()
    for path, tensor in list(named_tensors(module)):
        if path in plan:
            if id(tensor) not in made:
                made[id(tensor)] = _sliced(tensor, plan[path], indices)
            put_tensor(module, path, made[id(tensor)], persistent=is_persistent(module, path))


def _sliced(tensor: torch.Tensor, dims: Dims, indices: Indices) -> torch.Tensor:
    """Return the kept positions of a tensor: a parameter of a parameter, which learns if it did."""
    left = taken(tensor.detach(), dims, indices).contiguous()
    return torch.nn.Parameter(left, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else left
