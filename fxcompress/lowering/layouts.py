"""Images that lie channels last in memory: which do, and what bears it."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import calls, is_call, writes

aten, ops = torch.ops.aten, torch.ops.fxcompress
_CONVOLUTIONS = (ops.conv_static, ops.conv_pool_static, ops.conv_dynamic, ops.conv_bf16)
# Results lie in memory as the first operand does.
_KEEP = (
    *(aten.relu, aten.relu6, aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.hardswish, aten.hardsigmoid, aten.elu),
    *(aten.leaky_relu, aten.hardtanh, aten.clamp, aten.mish, aten.batch_norm, aten.dropout),
    *(aten.add, aten.sub, aten.mul, aten.div, aten.cat, aten.max_pool2d, aten.avg_pool2d, ops.max_pool_u8),
)
_FARTHEST = 8


def lies_channels_last(image: Node, farthest: int = _FARTHEST) -> bool:
    """Whether `image` comes from a convolution of ours, by calls that leave the order of its numbers in memory."""
    if is_call(image, *_CONVOLUTIONS):
        return True
    if not farthest or not is_call(image, *_KEEP):
        return False
    given = image.args[0]
    first = next(iter(given), None) if isinstance(given, list | tuple) else given
    return isinstance(first, Node) and lies_channels_last(first, farthest - 1)


def reshape_images(module: GraphModule) -> None:
    """Let views copy where they have to, in a graph with convolutions of ours: not all images lie as they did before.

    What is written into stays a view of another tensor.
    """
    if calls(module.graph, *_CONVOLUTIONS):
        for node in calls(module.graph, aten.view.default):
            if not any(writes(user) for user in node.users):
                node.target = aten.reshape.default
