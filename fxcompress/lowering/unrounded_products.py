"""Products of two activations that are rounded for other runtimes: no kernel here multiplies such bytes."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, set_argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.quantizing.activations import PRODUCTS


def multiply_unrounded(module: GraphModule, selected: set[Node]) -> list[Node]:
    """Let products among `selected` read both activations as they are, where both are rounded; return them."""
    found = []
    for node in calls(module.graph, *PRODUCTS):
        names = next(pair for packet, pair in PRODUCTS.items() if is_call(node, packet))
        sources = [_rounded(node, name) for name in names] if node in selected else [None]
        if all(source is not None for source in sources):
            for name, source in zip(names, sources, strict=True):
                set_argument(node, name, source)
            found.append(node)
    module.graph.eliminate_dead_code()
    return found


def _rounded(node: Node, operand: str) -> Node | None:
    """Return what is rounded by one scale for `operand`, None where nothing is."""
    decomposed = quantized_decomposed()
    dequantize = argument(node, operand)
    if not is_call(dequantize, decomposed.dequantize_per_tensor.default):
        return None
    quantize = dequantize.args[0]
    if not isinstance(quantize, Node) or not is_call(quantize, decomposed.quantize_per_tensor.default):
        return None
    source = quantize.args[0]
    return source if isinstance(source, Node) and source.op != "get_attr" else None
