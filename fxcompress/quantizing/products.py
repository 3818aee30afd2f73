"""Products of two activations, as attention has them: both operands are rounded by static ranges."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import PassContext
from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.quantizing.activations import PRODUCTS, Activation
from fxcompress.text import listing, plural
from fxcompress.weights import stored_behind

aten = torch.ops.aten


def round_products(
    module: GraphModule, activations: list[Activation], selected: Collection[Node], context: PassContext
) -> None:
    """Let products of two activations among `selected` read both rounded, once for all that read a value so.

    Attention in one call is named in a note, as are products that are not of float32.
    """
    known = {one.value: one for one in activations if one.kind == "tensor"}
    found, others = [], []
    for node in calls(module.graph, *PRODUCTS):
        names = next(pair for packet, pair in PRODUCTS.items() if is_call(node, packet))
        values = [argument(node, name) for name in names]
        if node not in selected or any(value.op == "get_attr" or stored_behind(value) for value in values):
            continue
        if any(value.meta["val"].dtype != torch.float32 for value in values):
            others.append(node)
            continue
        found.append(node)
        for name, value in zip(names, values, strict=True):
            if value not in known:
                # Runtimes multiply bytes whose zero point is 0, once signed.
                known[value] = Activation(value, "tensor", symmetric=True)
                activations.append(known[value])
            known[value].readers.append((node, name))
    whole = [node for node in calls(module.graph, aten.scaled_dot_product_attention) if node in selected]
    _tell(context, found, others, whole)


def _tell(context: PassContext, found: list[Node], others: list[Node], whole: list[Node]) -> None:
    if found:
        context.note(f"both operands of {plural(len(found), 'product')} of activations are rounded")
    if others:
        context.note(f"{_names(others)}: the operands are not rounded, they are not float32")
    if whole:
        context.note(
            f"{_names(whole)}: attention in one call, whose products are not rounded; a model that spells it out "
            'has them (transformers: attn_implementation="eager")'
        )
    if not found and not whole:
        context.note("there is no product of two activations")


def _names(nodes: list[Node]) -> str:
    return listing([f"%{node.name}" for node in nodes])
