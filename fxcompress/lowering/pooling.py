"""Max pooling of bytes goes into the call of the convolution that makes them, where nobody else reads these."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call

ops = torch.ops.fxcompress
_LAYER = ("input", "scale", "zero", "weight", "scales", "bias", "stride", "padding", "dilation", "groups", "post")
_WINDOW = ("kernel", "stride", "padding", "dilation")


def pool_behind_convolutions(module: GraphModule) -> None:
    """Let convolutions of bytes pool what they give; the nodes stay."""
    for pool in calls(module.graph, ops.max_pool_u8):
        made = argument(pool, "input")
        if isinstance(made, Node) and _serves(made):
            output = (argument(made, "output_scale"), argument(made, "output_zero"))
            window = tuple(argument(pool, name) for name in _WINDOW)
            backend = argument(made, "backend")
            layer = tuple(argument(made, name) for name in _LAYER)
            made.target, made.kwargs = ops.conv_pool_static.default, {}
            made.args = (*layer, *output, *window, backend)
            made.meta["val"] = pool.meta["val"]
            pool.replace_all_uses_with(made)
            module.graph.erase_node(pool)


def _serves(made: Node) -> bool:
    """Whether it is a convolution to bytes that nothing is added to, and only one reads it."""
    if not is_call(made, ops.conv_static) or len(made.users) != 1:
        return False
    plain = argument(made, "residual") is None and argument(made, "late_post") == "none"
    return plain and argument(made, "output_scale") is not None and argument(made, "backend") == "native"
