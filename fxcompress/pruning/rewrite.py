"""Removing slots: carriers are sliced, and every constant of the graph that mentions a pruned size is rewritten."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.groups import Kept
from fxcompress.analysis.axes.op import Value
from fxcompress.analysis.axes.sizes import is_dynamic
from fxcompress.errors import PassFailed
from fxcompress.graph.shapes import propagate
from fxcompress.graph.tensors import attribute, set_tensor, tied_paths
from fxcompress.pruning.constants import rewrite_constants
from fxcompress.pruning.corrections import correct

Plan = dict[str, dict[int, list[int]]]


def remove(module: GraphModule, axes: Axes, kept: Kept) -> Plan:
    """Remove from `module` what `kept` does not keep, and check that every size is what the axes predict.

    Returns:
        {name: {dim: positions that stay}} of every tensor that lost some, tied ones under all their names.

    Raises:
        PassFailed: a size came out other than predicted, which is a fault of a rule; the node is named.
    """
    plan = _plan(module, axes, kept)
    expected = {node: [_sizes(value, kept) for value in row] for node, row in axes.values.items()}
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node in axes.values:
            rewrite_constants(axes, kept, node)
            correct(axes, kept, node)
    _slice(module, axes, plan)
    propagate(module)
    for node, rows in expected.items():
        _compare(node, rows)
    return plan


def _plan(module: GraphModule, axes: Axes, kept: Kept) -> Plan:
    plan: Plan = {}
    for path, value in axes.stored.items():
        dims = {}
        for axis in value.axes:
            mask = kept.positions(axis.term) if axis.size > 1 else None
            if mask is not None and not mask.all():
                dims[axis.dim] = mask.nonzero()[0].tolist()
        if dims:
            for name in tied_paths(module, attribute(module, path)):
                plan[name] = dims
    return plan


def _slice(module: GraphModule, axes: Axes, plan: Plan) -> None:
    for path in axes.stored:
        if path in plan:
            tensor = attribute(module, path).detach()
            for dim, positions in plan[path].items():
                tensor = tensor.index_select(dim, torch.tensor(positions, device=tensor.device))
            set_tensor(module, path, tensor.contiguous())


def _sizes(value: Value | None, kept: Kept) -> list[int]:
    return [] if value is None else [kept.size(axis.term) if axis.size > 1 else axis.size for axis in value.axes]


def _compare(node: Node, rows: list[list[int]]) -> None:
    """Raise where the type of `node` is not what the axes predicted; dynamic sizes are left to the type check."""
    given = node.meta.get("val")
    made = given if isinstance(given, list | tuple) else [given]
    for sizes, one in zip(rows, made, strict=True):
        if isinstance(one, torch.Tensor) and any(_differs(a, b) for a, b in zip(sizes, one.shape, strict=True)):
            raise PassFailed(
                f"pruning predicts {[size if not is_dynamic(size) else 'dynamic' for size in sizes]} here, "
                f"and it came out as {list(one.shape)}",
                node,
                hint=f"the rule of {node.target} is wrong: please report it; ignore= leaves the layers around it alone",
            )


def _differs(predicted: int, found: Any) -> bool:
    return isinstance(found, int) and not is_dynamic(predicted) and predicted != found
