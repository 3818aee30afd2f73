"""Residual sums around convolutions: what is added is rounded too, so that it is bytes that flow around them.

What runs around other layers, as in transformers, carries on from block to block and stays in floats.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.contract import PassContext
from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.graph.operators import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from fxcompress.graph.sums import SUMMANDS, is_sum
from fxcompress.quantizing.activations import Activation
from fxcompress.text import plural

aten = torch.ops.aten


def round_shortcuts(activations: list[Activation]) -> None:
    """Let sums read rounded what is rounded anyhow, for convolutions alone."""
    for one in activations:
        convolutions = all(is_call(layer, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS) for layer, _ in one.readers)
        if one.kind == "tensor" and convolutions:
            for user in filter(is_sum, list(one.value.users)):
                one.readers += [(user, name) for name in SUMMANDS if argument(user, name) is one.value]


def round_sums(module: GraphModule, activations: list[Activation], context: PassContext) -> None:
    """Let every sum that a convolution of a static input goes into read both operands rounded."""
    static = [one for one in activations if one.kind == "tensor"]
    layers = {reader for one in static for reader, _ in one.readers if is_call(reader, *CONVOLUTIONS)}
    known = {one.value: one for one in static}
    found = [node for node in calls(module.graph, aten.add.Tensor) if is_sum(node) and layers & set(node.args[:2])]
    for node in found:
        for name in SUMMANDS:
            value = argument(node, name)
            if value not in known:
                known[value] = Activation(value, "tensor")
                activations.append(known[value])
            if (node, name) not in known[value].readers:
                known[value].readers.append((node, name))
    if found:
        context.note(f"both operands of {plural(len(found), 'sum')} are rounded")
