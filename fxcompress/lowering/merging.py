"""Linears that read one activation become one product: which may, and what reads a part of its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.fx import Node

from fxcompress.graph.nodes import is_call, writes
from fxcompress.lowering.claims import Claim

aten = torch.ops.aten
_NEEDS_ITS_OWN_MEMORY = (aten.as_strided, aten.view.dtype, aten.view_as_complex, aten.unfold)


def batches(claims: Iterable[Claim], key: Callable[[Claim], object | None] | None = None) -> list[list[Claim]]:
    """Return the claims in groups that can be one product, in the order of the graph.

    Args:
        key: what is alike in claims of one group, None for a claim that stays alone; by default that of the CPU.
    """
    found: dict[object, list[Claim]] = {}
    for claim in claims:
        alike = (key or _alike)(claim)
        alone = alike is None or not bears_gaps(claim.last)
        found.setdefault(claim.layer if alone else alike, []).append(claim)
    return list(found.values())


def _alike(claim: Claim) -> object | None:
    if claim.kind not in ("dynamic", "static", "weight-only") or claim.output is not None:
        return None
    given = claim.given.args[0] if claim.kind == "static" else claim.given
    steps = claim.given.args[1:3] if claim.kind == "static" else ()
    return claim.kind, given, steps, claim.post


def bears_gaps(node: Node) -> bool:
    """Whether all that reads `node` takes a part of a wider tensor as well: rows with gaps between them.

    What is returned to the caller, written into, or read by its place in memory does not.
    """
    for user in node.users:
        if user.op == "output" or is_call(user, *_NEEDS_ITS_OWN_MEMORY) or writes(user):
            return False
        if _aliases(user) and not bears_gaps(user):
            return False
    return True


def reshape_views(node: Node) -> None:
    """Let what views `node` copy where it has to: `view` demands rows without gaps, `reshape` does not."""
    for user in list(node.users):
        if is_call(user, aten.view.default):
            user.target = aten.reshape.default
        if _aliases(user):
            reshape_views(user)


def _aliases(node: Node) -> bool:
    """Whether what `node` gives may lie in the memory of its input."""
    schema = getattr(node.target, "_schema", None)
    return (
        schema is None
        or any(one.alias_info is not None for one in schema.arguments)
        or is_call(node, aten.reshape, aten.flatten, aten.unflatten)
    )
