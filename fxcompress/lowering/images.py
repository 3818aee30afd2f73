"""Convolutions of images that are rounded as the model runs, as calls of kernels."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, scope_meta
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.rewriting import finish, move_up_stored, residual_of

ops = torch.ops.fxcompress


class Images:
    """The rounded images that a graph has, by the node that they are made of."""

    def __init__(self) -> None:
        self._found: dict[tuple[Node, str], list[Node]] = {}

    def replace(self, module: GraphModule, claim: Claim, backend: str) -> Node:
        """Put one convolution of a rounded image in the place of `claim` and return it."""
        layer = claim.layer
        move_up_stored([claim], layer)
        image = self._image(module, claim.given, layer, backend)
        scale, zero = claim.output or (None, 0)
        geometry = [numbers(argument(layer, name)) for name in ("stride", "padding", "dilation")]
        operands = (claim.weight.integers, claim.weight.scales, claim.bias, *geometry, argument(layer, "groups"))
        behind = (claim.post, *residual_of(claim), claim.late_post, scale, zero, backend)
        # A residual may be calculated behind the layer.
        with module.graph.inserting_before(claim.last if claim.residual is not None else layer):
            made = module.graph.create_node(
                "call_function", ops.conv_dynamic.default, (*image, *operands, *behind), name=f"{layer.name}_lowered"
            )
        finish(claim, made)
        return made

    def _image(self, module: GraphModule, given: Node, before: Node, backend: str) -> list[Node]:
        """Return the nodes of bytes, scales and zero points of `given`, put in before `before` if there are none."""
        key = (given, backend)
        if key not in self._found:
            with module.graph.inserting_before(before):
                made = module.graph.create_node(
                    "call_function", ops.round_images.default, (given, backend), name=f"{given.name}_rounded"
                )
                made.meta = scope_meta(given)
                self._found[key] = [module.graph.call_function(operator.getitem, (made, i)) for i in range(3)]
        return self._found[key]


def numbers(given: int | Sequence[int]) -> list[int]:
    """Return a number for each axis that a kernel moves along, or the one for all."""
    return [given] if isinstance(given, int) else list(given)
