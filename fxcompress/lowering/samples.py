"""Convolutions of images that are rounded by their own ranges: how they are found, and left with images as they are."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, set_argument
from fxcompress.graph.operators import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from fxcompress.graph.quantized import quantized_decomposed

aten, ops = torch.ops.aten, torch.ops.fxcompress
_LAYERS = (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)


def read_unrounded(module: GraphModule, selected: set[Node]) -> list[Node]:
    """Let convolutions that no kernel calculates read their image as it is; return them.

    In floats rounding takes time and gives nothing back.
    """
    found = []
    for layer in calls(module.graph, *_LAYERS):
        source = rounded_by_sample(argument(layer, "input")) if layer in selected else None
        if source is not None:
            set_argument(layer, "input", source)
            found.append(layer)
    return found


def rounded_by_sample(node: Node) -> Node | None:
    """Return what is rounded to uint8 by the ranges of its samples, in the nodes up to `node`; else None.

    Without a batch it is made the only sample before, and taken out of that behind.
    """
    alone = is_call(node, aten.squeeze.dim) and node.args[1] == 0
    given = _rounded(node.args[0] if alone else node)
    if alone and given is not None:
        given = given.args[0] if is_call(given, aten.unsqueeze.default) and given.args[1] == 0 else None  # type: ignore[assignment]
    # What only cuts gradients off gives the same; a kernel has none.
    source = given.args[0] if given is not None and is_call(given, aten.detach) else given
    return source if isinstance(source, Node) else None


def _rounded(dequantize: object) -> Node | None:
    decomposed, limits = quantized_decomposed(), ("axis", "quant_min", "quant_max", "dtype")
    if not isinstance(dequantize, Node) or not is_call(dequantize, decomposed.dequantize_per_channel.default):
        return None
    quantize = dequantize.args[0]
    if not isinstance(quantize, Node) or not is_call(quantize, decomposed.quantize_per_channel.default):
        return None
    numbers = [tuple(argument(one, name) for name in limits) for one in (quantize, dequantize)]
    if quantize.args[1:3] != dequantize.args[1:3] or numbers != [(0, 0, 255, torch.uint8)] * 2:
        return None
    given = quantize.args[0]
    if not isinstance(given, Node) or not all(map(_chosen_for(given), enumerate(quantize.args[1:3]))):
        return None
    return given


def _chosen_for(given: Node) -> Callable[[tuple[int, object]], bool]:
    """Return whether a number with its place is one of those that are chosen for the samples of `given`."""

    def holds(placed: tuple[int, object]) -> bool:
        place, number = placed
        if not isinstance(number, Node) or number.target is not operator.getitem or number.args[1] != place:
            return False
        choose = number.args[0]
        return isinstance(choose, Node) and is_call(choose, ops.choose_sample_range) and choose.args[0] is given

    return holds
