"""Images whose ranges are found one by one as the model runs, which ONNX has no operator for."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import tensor_of
from fxcompress.kernels.activations import SMALLEST_SCALE
from fxcompress.lowering.samples import rounded_by_sample
from fxcompress.quantizing.nodes import Inserter

aten = torch.ops.aten
onnx = torch.ops.fxcompress_onnx
_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


def rewrite_samples(module: GraphModule, dynamic: str) -> int:
    """Rewrite every image that is quantized by its own range; return how many.

    With `token` the rounding is written out in floats, and convolutions are calculated in these: ONNX convolves bytes
    of one range alone. With `tensor` all images of a batch have one range, and are convolved as bytes.
    """
    found = 0
    for node in calls(module.graph, quantized_decomposed().dequantize_per_channel.default):
        source = rounded_by_sample(node)
        if source is not None:
            found += 1
            given = node.args[0].args[0]  # type: ignore[union-attr]
            assert isinstance(given, Node)
            if dynamic == "tensor":
                _by_tensor(module, node, given)
            else:
                node.replace_all_uses_with(_written_out(Inserter(module, node), given))
    return found


def _written_out(inserter: Inserter, given: Node) -> Node:
    """Return floats that were rounded to 256 steps of the range of their sample."""
    axes = list(range(1, given.meta["val"].dim())) if "val" in given.meta else _axes(given)
    low = inserter.call(aten.clamp.default, inserter.call(aten.amin.default, given, axes, True), None, 0.0)
    high = inserter.call(aten.clamp.default, inserter.call(aten.amax.default, given, axes, True), 0.0)
    length = inserter.call(aten.mul.Tensor, inserter.call(aten.sub.Tensor, high, low), 1 / 255)
    scales = inserter.call(aten.clamp.default, length, SMALLEST_SCALE)
    zeros = inserter.call(
        aten.round.default, inserter.call(aten.neg.default, inserter.call(aten.div.Tensor, low, scales))
    )
    steps = inserter.call(aten.round.default, inserter.call(aten.div.Tensor, given, scales))
    bytes_ = inserter.call(aten.clamp.default, inserter.call(aten.add.Tensor, steps, zeros), 0.0, 255.0)
    return inserter.call(aten.mul.Tensor, inserter.call(aten.sub.Tensor, bytes_, zeros), scales)


def _axes(given: Node) -> list[int]:
    """Return all axes but the first of a node that was inserted: an image, cut off its gradients or made a batch."""
    extra, source = 0, given
    while "val" not in source.meta:
        extra += is_call(source, aten.unsqueeze.default)
        source = source.args[0]  # type: ignore[assignment]
    return list(range(1, source.meta["val"].dim() + extra))


def _by_tensor(module: GraphModule, node: Node, given: Node) -> None:
    inserter = Inserter(module, node)
    quantized = inserter.call(onnx.dynamic_quantize.default, given)
    values, scale, zero = (inserter.call(operator.getitem, quantized, place) for place in range(3))
    for user in list(node.users):
        weight = _weight(module, user, node)
        if weight is not None:
            _in_integers(module, user, weight, (values, scale, zero))
    if node.users:
        wide = [inserter.call(aten.to.dtype, one, torch.float32) for one in (values, zero)]
        centred = inserter.call(aten.sub.Tensor, *wide)
        node.replace_all_uses_with(inserter.call(aten.mul.Tensor, centred, scale))


def _weight(module: GraphModule, user: Node, given: Node) -> Node | None:
    """Return the dequantize node of the stored weight that `user` convolves `given` with, None for another layer."""
    if user.target not in _CONVOLUTIONS or argument(user, "input") is not given:
        return None
    weight = argument(user, "weight")
    if not is_call(weight, quantized_decomposed().dequantize_per_channel.default) or argument(weight, "axis") != 0:
        return None
    stored = [tensor_of(module, argument(weight, name)) for name in ("input", "scales")]
    plain = argument(weight, "zero_points") is None and all(one is not None for one in stored)
    return weight if plain else None


def _in_integers(module: GraphModule, user: Node, weight: Node, image: tuple[Node, Node, Node]) -> None:
    """Put a convolution of bytes in the place of `user`."""
    values, scale, zero = image
    axes = user.meta["val"].dim() - 2
    inserter, column = Inserter(module, user), [-1, *[1] * axes]
    geometry: list[Any] = [_numbers(argument(user, name), axes) for name in ("stride", "padding", "dilation")]
    integers = (values, argument(weight, "input"), zero, *geometry, argument(user, "groups"))
    sums = inserter.call(onnx.convolve_integer.default, *integers)
    scales = inserter.call(aten.mul.Tensor, argument(weight, "scales"), scale)
    scales = inserter.call(aten.reshape.default, scales, column)
    wide = inserter.call(aten.to.dtype, sums, torch.float32)
    made = inserter.call(aten.mul.Tensor, wide, scales)
    bias = argument(user, "bias")
    if bias is not None:
        made = inserter.call(aten.add.Tensor, made, inserter.call(aten.reshape.default, bias, column))
    user.replace_all_uses_with(made)
    module.graph.erase_node(user)


def _numbers(given: int | list[int], axes: int) -> list[int]:
    found = [given] if isinstance(given, int) else list(given)
    return found * axes if len(found) == 1 else found
