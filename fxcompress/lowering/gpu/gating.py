"""Two linears of one input of which one gates the other, as SwiGLU has them: one product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.fx import Node

from fxcompress.graph.nodes import is_call
from fxcompress.lowering.claims import Claim, post_of

aten = torch.ops.aten


def gated_pairs(claims: Sequence[Claim]) -> list[tuple[Claim, Claim]]:
    """Return pairs of claims, the gate first: its activation function is its `post`, the product of both its `last`.

    Both read the same input in floats, have weights alike and no bias, and nothing else reads them.
    """
    by_layer = {claim.layer: claim for claim in claims if claim.kind in ("weight-only", "groups") and not claim.bias}
    found = []
    for gate in by_layer.values():
        function = _only_user(gate.layer)
        post = None if function is None else post_of(function)
        product = None if function is None or post is None else _only_user(function)
        if product is None or post is None or not is_call(product, aten.mul.Tensor):
            continue
        others = [one for one in product.args[:2] if one is not function]
        other = by_layer.get(others[0]) if others and isinstance(others[0], Node) else None
        if other is not None and len(other.layer.users) == 1 and _alike(gate, other):
            found.append((replace(gate, post=post, last=product), other))
    return found


def _alike(one: Claim, other: Claim) -> bool:
    same = one.given is other.given and one.weight.group == other.weight.group and one.kind == other.kind
    values = [claim.weight.integers.meta["val"].shape for claim in (one, other)]
    zeros = [claim.weight.zeros is None for claim in (one, other)]
    return same and values[0] == values[1] and zeros[0] == zeros[1]


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
