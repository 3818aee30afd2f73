"""Dynamic linears as linears of tokens: the quantization of an activation is a node of its own, for all readers."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import scope_meta
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.rewriting import finish, move_up_stored, split

ops = torch.ops.fxcompress
# Post, residual, norm with its weight, bias and eps: nothing, before anything is fused.
NOTHING = ("none", None, "none", None, None, 0.0)


class Tokens:
    """The tokens that a graph has, by the node that they are made of."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._found: dict[Node, list[Node]] = {}

    def replace(self, module: GraphModule, claims: Sequence[Claim]) -> Node:
        """Put one linear of tokens in the place of dynamic `claims`, which read the same, and return it."""
        first = min(claims, key=lambda claim: claim.layer).layer
        move_up_stored(claims, first)
        tokens = self._tokens(module, claims[0].given, first)
        layers = (
            [claim.weight.integers for claim in claims],
            [claim.weight.scales for claim in claims],
            [claim.bias for claim in claims],
        )
        with module.graph.inserting_before(first):
            made = module.graph.create_node(
                "call_function", ops.linear_tokens.default, (*tokens, *layers, *NOTHING, ["out"], self.backend),
                name=f"{first.name}_lowered",
            )  # fmt: skip
            made.meta = scope_meta(first)
            out = module.graph.call_function(operator.getitem, (made, 0))
        parts = [out] if len(claims) == 1 else split(module, out, claims)
        for claim, part in zip(claims, parts, strict=True):
            finish(claim, part)
        return made

    def _tokens(self, module: GraphModule, given: Node, before: Node) -> list[Node]:
        """Return the nodes of bytes, scales and zero points of `given`, put in before `before` if there are none."""
        if given not in self._found:
            with module.graph.inserting_before(before):
                made = module.graph.create_node(
                    "call_function", ops.finish_rows.default, (given, *NOTHING, ["tokens"], self.backend),
                    name=f"{given.name}_tokens",
                )  # fmt: skip
                made.meta = scope_meta(given)
                self._found[given] = [module.graph.call_function(operator.getitem, (made, i)) for i in range(3)]
        return self._found[given]
