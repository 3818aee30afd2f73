"""Quantization moves up through calls that give the same before it as behind it, so that bytes flow through them.

The largest of bytes is the byte of the largest; cutting, joining and reshaping change no number.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import RESHAPES, argument, calls, is_call, scope_meta
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.lowering.claims import quantizes_u8
from fxcompress.lowering.rewriting import pair

aten, ops = torch.ops.aten, torch.ops.fxcompress
_KEEP = (*RESHAPES, aten.transpose, aten.permute, aten.t, aten.slice, aten.select)


def raise_quantization(module: GraphModule) -> None:
    """Move quantization to uint8 up as far as it goes."""
    waiting = calls(module.graph, quantized_decomposed().quantize_per_tensor.default)
    while waiting:
        quantize = waiting.pop()
        given = quantize.args[0]
        if not isinstance(given, Node) or len(given.users) != 1 or not quantizes_u8(quantize):
            continue
        waiting += _raised(module, quantize, given)


def _raised(module: GraphModule, quantize: Node, given: Node) -> list[Node]:
    """Quantize what `given` reads in place of what it gives; return the new quantize nodes, none where it cannot be."""
    if is_call(given, aten.max_pool2d.default) and given.meta["val"].dim() == 4 and not argument(given, "ceil_mode"):
        raised = _inputs(module, quantize, given, [argument(given, "self")])
        return _finish(quantize, given, ops.max_pool_u8.default, (raised[0], *_windows(given)), raised)
    if is_call(given, aten.cat.default):
        raised = _inputs(module, quantize, given, list(argument(given, "tensors")))
        return _finish(quantize, given, aten.cat.default, (raised, argument(given, "dim")), raised)
    if is_call(given, *_KEEP) and isinstance(given.args[0], Node) and given.args[0].op != "get_attr":
        raised = _inputs(module, quantize, given, [given.args[0]])
        return _finish(quantize, given, cast(Any, given.target), (raised[0], *given.args[1:]), raised, given.kwargs)
    return []


def _windows(pool: Node) -> list[list[int]]:
    """Return kernel, stride, padding and dilation of a max pooling, two numbers each."""
    kernel, stride = (argument(pool, name) for name in ("kernel_size", "stride"))
    others = (pair(argument(pool, name)) for name in ("padding", "dilation"))
    return [pair(kernel), pair(stride or kernel), *others]


def _inputs(module: GraphModule, quantize: Node, given: Node, inputs: list[Node]) -> list[Node]:
    """Return new nodes that quantize `inputs` as `quantize` does."""
    made = []
    for one in inputs:
        with module.graph.inserting_before(given):
            node = module.graph.call_function(cast(Any, quantize.target), (one, *quantize.args[1:]), quantize.kwargs)
        node.meta["val"] = torch.empty_like(one.meta["val"], dtype=torch.uint8)
        made.append(node)
    return made


def _finish(
    quantize: Node,
    given: Node,
    target: Any,
    arguments: tuple[Any, ...],
    raised: list[Node],
    keywords: dict[str, Any] | None = None,
) -> list[Node]:
    """Put a call that gives bytes in the place of `given` and `quantize`."""
    with quantize.graph.inserting_before(given):
        made = quantize.graph.call_function(target, arguments, keywords)
    made.meta = scope_meta(given)
    made.meta["val"] = quantize.meta["val"]
    quantize.replace_all_uses_with(made)
    quantize.graph.erase_node(quantize)
    quantize.graph.erase_node(given)
    return raised
