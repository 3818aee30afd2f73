"""Linears and convolutions of quantized weights, in the form that runtimes of ONNX fuse.

A linear becomes a product with its weight stored as [features, outputs], and a sum. Where its input is static and has
rows alone, and for convolutions of a static input, the bias becomes an int32 behind a dequantize node.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, set_argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import add_tensor, tensor_of
from fxcompress.quantizing.nodes import Inserter
from fxcompress.targets.onnx import operators  # noqa: F401  registers what is called below

aten = torch.ops.aten
_CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)
_INT32 = (-(2**31), 2**31 - 1, torch.int32)


def rewrite_layers(module: GraphModule) -> set[str]:
    """Rewrite the layers of quantized weights; return the names of new stored tensors that fit into 4 bits."""
    narrow: set[str] = set()
    turned: dict[Node, Node | None] = {}
    for node in calls(module.graph, aten.linear.default):
        weight = argument(node, "weight")
        if weight not in turned:
            turned[weight] = _turned(module, weight, narrow)
        new = turned[weight]
        if new is not None:
            _rewrite_linear(module, node, new)
    for node in calls(module.graph, *_CONVOLUTIONS):
        bias = _integer_bias(module, node, argument(node, "weight"), 0)
        if bias is not None:
            node.replace_input_with(argument(node, "bias"), bias)
    return narrow


def _rewrite_linear(module: GraphModule, node: Node, weight: Node) -> None:
    given, bias = argument(node, "input"), argument(node, "bias")
    inserter = Inserter(module, node)
    integer = _integer_bias(module, node, weight, 1) if given.meta["val"].dim() == 2 else None
    if integer is not None:
        result = inserter.call(aten.addmm.default, integer, given, weight)
    else:
        result = inserter.call(aten.matmul.default, given, weight)
        if bias is not None:
            result = inserter.call(aten.add.Tensor, result, bias)
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _turned(module: GraphModule, weight: Node, narrow: set[str]) -> Node | None:
    """Return a node like the dequantize node `weight` whose integers are stored turned, None where it is another."""
    ops = quantized_decomposed()
    if not isinstance(weight, Node) or weight.meta["val"].dtype != torch.float32 or weight.op != "call_function":
        return None
    integers: Any = weight.args[0]
    stored = tensor_of(module, integers)
    # What somebody else reads too would be stored twice.
    if stored is None or stored.dim() != 2 or len(integers.users) > 1:
        return None
    kwargs: dict[str, Any] = dict(weight.kwargs)
    inserter = Inserter(module, weight)
    if is_call(weight, ops.dequantize_per_channel_group.default):
        return _turned_groups(module, inserter, weight, narrow)
    if not is_call(weight, ops.dequantize_per_tensor.default) and not (
        is_call(weight, ops.dequantize_per_channel.default) and argument(weight, "axis") == 0
    ):
        return None
    source = _store(module, weight, integers, stored.t())
    if is_call(weight, ops.dequantize_per_tensor.default):
        made = _for_each_output(module, inserter, weight, source)
    else:
        made = inserter.call(weight.target, source, *weight.args[1:], **kwargs)
        set_argument(made, "axis", 1)
    if _fits(weight):
        narrow.add(str(source.target))
    return made


def _for_each_output(module: GraphModule, inserter: Inserter, weight: Node, source: Node) -> Node:
    """Return a node that dequantizes `source` by the one scale of `weight`, written once for each output.

    ONNX Runtime fuses those, and fails at some with one scale.
    """
    outputs, zero = tensor_of(module, source).shape[1], argument(weight, "zero_point")  # type: ignore[union-attr]
    path = argument(weight, "input").target
    scales = add_tensor(module, f"{path}_scale", torch.full((outputs,), float(argument(weight, "scale"))), weight)
    zeros = None
    if zero:
        zeros = add_tensor(module, f"{path}_zero", torch.full((outputs,), zero, dtype=torch.int8), weight)
    target = quantized_decomposed().dequantize_per_channel.default
    kwargs: dict[str, Any] = dict(weight.kwargs)
    return inserter.call(target, source, scales, zeros, 1, *weight.args[3:], **kwargs)


def _turned_groups(module: GraphModule, inserter: Inserter, weight: Node, narrow: set[str]) -> Node | None:
    stored = [tensor_of(module, one) for one in weight.args[:3]]
    if stored[0] is None or stored[1] is None or (weight.args[2] is not None and stored[2] is None):
        return None
    integers, *numbers = (
        None if tensor is None else _store(module, weight, one, tensor.t())
        for one, tensor in zip(weight.args[:3], stored, strict=True)
    )
    if integers is not None and _fits(weight):
        narrow.add(str(integers.target))
    return inserter.call(torch.ops.fxcompress_onnx.dequantize_blocks.default, integers, *numbers, weight.args[6])


def _fits(weight: Node) -> bool:
    """Whether the integers that `weight` dequantizes fit into 4 bits."""
    return bool(argument(weight, "quant_min") >= -8 and argument(weight, "quant_max") <= 7)


def _store(module: GraphModule, before: Node, like: Any, tensor: torch.Tensor) -> Node:
    return add_tensor(module, f"{like.target}_turned", tensor.detach().contiguous(), before)


def _integer_bias(module: GraphModule, node: Node, weight: Node, axis: int) -> Node | None:
    """Return a node that dequantizes the bias of `node` from int32, None where input and weight have no integers.

    A step is one of the input times one of the weight, so that the bias can be added to the sums of products.
    """
    given, bias = argument(node, "input"), argument(node, "bias")
    stored, steps = tensor_of(module, bias), _steps(module, weight, axis)
    if stored is None or steps is None or not is_call(given, quantized_decomposed().dequantize_per_tensor.default):
        return None
    scales = (float(argument(given, "scale")) * steps.double()).float().expand(stored.shape).contiguous()
    integers = (stored.detach().double() / scales.double()).round()
    if stored.dtype != torch.float32 or not bool((integers.abs() <= _INT32[1]).all()):
        return None
    values = add_tensor(module, f"{bias.target}_int32", integers.to(torch.int32), node)
    scale = add_tensor(module, f"{bias.target}_scale", scales, node)
    target = quantized_decomposed().dequantize_per_channel.default
    return Inserter(module, node).call(target, values, scale, None, 0, *_INT32)


def _steps(module: GraphModule, weight: Node, axis: int) -> torch.Tensor | None:
    """Return the scales of the outputs of a stored weight, None where it has none, or zero points."""
    ops = quantized_decomposed()
    if is_call(weight, ops.dequantize_per_tensor.default):
        plain = argument(weight, "zero_point") == 0 and tensor_of(module, weight.args[0]) is not None
        return torch.tensor(float(argument(weight, "scale"))) if plain else None
    if not is_call(weight, ops.dequantize_per_channel.default) or argument(weight, "axis") != axis:
        return None
    scales = tensor_of(module, argument(weight, "scales"))
    if argument(weight, "zero_points") is not None or tensor_of(module, weight.args[0]) is None:
        return None
    return None if scales is None else scales.detach()
