"""Residual sums: what is added to the result of a convolution is rounded too, where integer kernels want it."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import PassContext
from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.quantizing.activations import Activation
from fxcompress.text import plural
from fxcompress.weights import CONVOLUTIONS

aten = torch.ops.aten


def round_sums(module: GraphModule, activations: list[Activation], context: PassContext) -> None:
    """Add to `activations` the operands of every sum that a convolution of a static input goes into."""
    static = [one for one in activations if one.kind == "tensor"]
    layers = {reader for one in static for reader, _ in one.readers if is_call(reader, *CONVOLUTIONS)}
    known = {one.value: one for one in static}
    found = [node for node in calls(module.graph, aten.add.Tensor) if _is_sum(node, layers)]
    for node in found:
        for operand in ("self", "other"):
            value = argument(node, operand)
            if value not in known:
                known[value] = Activation(value, "tensor")
                activations.append(known[value])
            known[value].readers.append((node, operand))
    if found:
        context.note(f"both operands of {plural(len(found), 'sum')} are rounded")


def _is_sum(node: Node, layers: set[Node]) -> bool:
    operands = [argument(node, "self"), argument(node, "other")]
    if argument(node, "alpha") != 1 or not all(isinstance(one, Node) for one in operands):
        return False
    values = [one.meta["val"] for one in operands]
    same = all(isinstance(one, torch.Tensor) and one.dtype == torch.float32 for one in values)
    return same and values[0].shape == values[1].shape and bool(layers & set(operands))
