"""Activations whose ranges are found token by token as the model runs, which ONNX has no operator for."""

from __future__ import annotations

import operator

import torch
from torch.fx import GraphModule, Node

from fxcompress.errors import ExportError
from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import add_tensor, tensor_of
from fxcompress.kernels.activations import SMALLEST_SCALE
from fxcompress.quantizing.nodes import Inserter

aten = torch.ops.aten
onnx = torch.ops.fxcompress_onnx
_BYTES = (0, 255, torch.uint8)


def rewrite_tokens(module: GraphModule, dynamic: str) -> int:
    """Rewrite every activation that is quantized token by token; return how many.

    With `token`, a token x becomes bytes by x / scale + zero. The product of these bytes and the weight, less zero
    times the sums of the weight's columns, times scale, is what the graph gives. Bytes stand behind a quantize node of
    scale 1 and a dequantize node, by which runtimes see that the product is one of integers.

    With `tensor`, all tokens have one range.

    Raises:
        ExportError: tokens are quantized in another way than `quantize` does.
    """
    found = calls(module.graph, quantized_decomposed().dequantize_per_token.default)
    for node in found:
        source = _source(node)
        products = {user: weight for user in node.users if (weight := _weight(module, user, node)) is not None}
        if dynamic == "tensor":
            _by_tensor(module, node, source, products)
        else:
            _by_token(module, node, source, products)
    return len(found)


def _source(node: Node) -> Node:
    """Return what was quantized."""
    quantize = node.args[0]
    if isinstance(quantize, Node) and is_call(quantize, quantized_decomposed().quantize_per_token.default):
        limits = tuple(argument(quantize, name) for name in ("quant_min", "quant_max", "dtype"))
        if limits == (-128, 127, torch.int8) and isinstance(quantize.args[0], Node):
            return quantize.args[0]
    raise ExportError(f"%{node.name}: tokens that are quantized like this have no form in ONNX")


def _weight(module: GraphModule, user: Node, given: Node) -> Node | None:
    """Return the dequantize node of the stored weight [features, outputs] that `user` multiplies `given` with."""
    if not is_call(user, aten.matmul.default) or user.args[0] is not given:
        return None
    weight = user.args[1]
    if not isinstance(weight, Node) or not is_call(weight, quantized_decomposed().dequantize_per_channel.default):
        return None
    stored = [tensor_of(module, argument(weight, name)) for name in ("input", "scales")]
    plain = argument(weight, "axis") == 1 and argument(weight, "zero_points") is None
    return weight if plain and stored[0] is not None and stored[1] is not None else None


def _by_token(module: GraphModule, node: Node, source: Node, products: dict[Node, Node]) -> None:
    inserter, ops = Inserter(module, node), quantized_decomposed()
    scales, zeros = _ranges(inserter, source)
    steps = inserter.call(aten.add.Tensor, inserter.call(aten.div.Tensor, source, scales), zeros)
    values = inserter.call(ops.quantize_per_tensor.default, steps, 1.0, 0, *_BYTES)
    whole = inserter.call(ops.dequantize_per_tensor.default, values, 1.0, 0, *_BYTES)
    for user, weight in products.items():
        sums = _column_sums(module, user, weight)
        after = Inserter(module, user)
        product = after.call(aten.matmul.default, whole, weight)
        centred = after.call(aten.sub.Tensor, product, after.call(aten.mul.Tensor, zeros, sums))
        _replace(module, user, after.call(aten.mul.Tensor, centred, scales))
    if node.users:
        floats = inserter.call(aten.mul.Tensor, inserter.call(aten.sub.Tensor, whole, zeros), scales)
        node.replace_all_uses_with(floats)


def _ranges(inserter: Inserter, source: Node) -> tuple[Node, Node]:
    """Return the float32 scale and zero point of each token, [..., 1], the zero point in 0..255."""
    low = inserter.call(aten.clamp.default, inserter.call(aten.amin.default, source, [-1], True), None, 0.0)
    high = inserter.call(aten.clamp.default, inserter.call(aten.amax.default, source, [-1], True), 0.0)
    length = inserter.call(aten.mul.Tensor, inserter.call(aten.sub.Tensor, high, low), 1 / 255)
    scales = inserter.call(aten.clamp.default, length, SMALLEST_SCALE)
    below = inserter.call(aten.neg.default, inserter.call(aten.div.Tensor, low, scales))
    return scales, inserter.call(aten.round.default, below)


def _column_sums(module: GraphModule, before: Node, weight: Node) -> Node:
    """Return a stored float32 [outputs]: what the columns of the weight add up to."""
    integers, scales = (tensor_of(module, argument(weight, name)) for name in ("input", "scales"))
    assert integers is not None
    assert scales is not None
    sums = integers.double().sum(0) * scales.detach().double()
    return add_tensor(module, f"{argument(weight, 'input').target}_sums", sums.float(), before)


def _by_tensor(module: GraphModule, node: Node, source: Node, products: dict[Node, Node]) -> None:
    inserter = Inserter(module, node)
    quantized = inserter.call(onnx.dynamic_quantize.default, source)
    values, scale, zero = (inserter.call(operator.getitem, quantized, place) for place in range(3))
    for user, weight in products.items():
        after = Inserter(module, user)
        sums = after.call(onnx.matmul_integer.default, values, argument(weight, "input"), zero)
        wide = after.call(aten.to.dtype, sums, torch.float32)
        scales = after.call(aten.mul.Tensor, argument(weight, "scales"), scale)
        _replace(module, user, after.call(aten.mul.Tensor, wide, scales))
    if node.users:
        floats = [inserter.call(aten.to.dtype, one, torch.float32) for one in (values, zero)]
        centred = inserter.call(aten.sub.Tensor, *floats)
        node.replace_all_uses_with(inserter.call(aten.mul.Tensor, centred, scale))


def _replace(module: GraphModule, node: Node, made: Node) -> None:
    node.replace_all_uses_with(made)
    module.graph.erase_node(node)
