"""Patterns of quantize and dequantize nodes around a layer, and what is known of each when it is claimed."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, argument_names, is_call
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.sums import other_summand
from fxcompress.graph.tensors import tensor_of

aten = torch.ops.aten
Kind = Literal["dynamic", "static", "weight-only", "groups", "convolution", "embedding"]


@dataclass(frozen=True)
class Quantized:
    """A stored weight behind a dequantize node: the `get_attr` nodes of its integers, scales and zero points."""

    integers: Node
    scales: Node
    zeros: Node | None = None
    group: int = 0


@dataclass(frozen=True)
class Claim:
    """A layer that a kernel can take over.

    Attributes:
        layer: the linear or convolution.
        given: the input itself where it stays in floats, the dequantize node of a static one, the node that was
            quantized of a dynamic one.
        last: the last node of the pattern, whose result the kernel gives.
        post: the activation function among them.
        residual: what is added behind it: in floats, or the dequantize node of bytes.
        late_post: the activation function behind that.
        output: scale and zero point of the result, where it is quantized.
    """

    kind: Kind
    layer: Node
    given: Node
    weight: Quantized
    bias: Node | None
    last: Node
    post: str = "none"
    residual: Node | None = None
    late_post: str = "none"
    output: tuple[float, int] | None = None


def claim_of(module: GraphModule, layer: Node, taken: set[Node] | None = None) -> Claim | str | None:
    """Return what can be claimed around `layer`, or why nothing can; None where its weight is not quantized.

    Additions among `taken` belong to another claim; one that this claim takes is added there.
    """
    found = weight_of(module, argument(layer, "weight"))
    if found is None or isinstance(found, str):
        return found
    if is_call(layer, aten.embedding):
        return _embedding(layer, found)
    given, bias = argument(layer, "input"), argument(layer, "bias")
    why = _unfit(module, layer, given, bias)
    if why:
        return why
    kind, source = activation_of(given)
    if is_call(layer, aten.conv2d):
        return _convolution(layer, kind, source, found, bias, set() if taken is None else taken)
    if found.group:
        return Claim("groups", layer, given, found, bias, layer)
    if kind == "static":
        return with_what_follows(Claim("static", layer, source, found, bias, layer), set())
    return Claim(kind, layer, source, found, bias, layer)


def _unfit(module: GraphModule, layer: Node, given: Node, bias: Any) -> str | None:
    """Return why the operands of `layer` suit no kernel."""
    if given.meta["val"].dtype != torch.float32:
        return f"it calculates in {str(given.meta['val'].dtype).removeprefix('torch.')}, the kernels in float32"
    if given.meta["val"].device.type != "cpu":
        return "it is not on the CPU"
    stored = tensor_of(module, bias)
    if bias is not None and (stored is None or stored.dtype != torch.float32):
        return "its bias is no stored float32"
    return None


def weight_of(module: GraphModule, node: Any) -> Quantized | str | None:
    """Return the stored weight that `node` dequantizes, or why no kernel takes it; None where `node` does not."""
    ops = quantized_decomposed()
    if not isinstance(node, Node):
        return None
    if is_call(node, ops.dequantize_per_channel):
        found = Quantized(*(argument(node, name) for name in ("input", "scales", "zero_points")))
        if argument(node, "axis") != 0:
            return "its weight is quantized along another axis than that of its outputs"
        if found.zeros is not None and not _all_zero(module, found.zeros):
            return "its weight has zero points"
    elif hasattr(ops, "dequantize_per_channel_group") and is_call(node, ops.dequantize_per_channel_group):
        names = ("w_int8", "scales", "zero_points", "group_size")
        names = names if "w_int8" in argument_names(node) else ("input", *names[1:])
        found = Quantized(*(argument(node, name) for name in names))
    else:
        return None
    stored = [tensor_of(module, one) for one in (as_stored(found.integers), found.scales)]
    if stored[0] is None or stored[1] is None or stored[0].dtype != torch.int8:
        return "its weight is no stored int8"
    return found


def as_stored(node: Any) -> Any:
    """Return the read of what `node` keeps transposed, else `node`."""
    held = isinstance(node, Node) and is_call(node, torch.ops.fxcompress.held_transposed)
    return node.args[0] if held else node


def _all_zero(module: GraphModule, zeros: Node) -> bool:
    stored = tensor_of(module, zeros)
    return stored is not None and not bool(stored.any())


def activation_of(node: Node) -> tuple[Literal["dynamic", "static", "weight-only"], Node]:
    """Return how the activation `node` is quantized, and what a kernel for that reads (see `Claim.given`)."""
    ops = quantized_decomposed()
    if is_call(node, ops.dequantize_per_tensor.default) and quantizes_u8(node):
        return "static", node
    if hasattr(ops, "dequantize_per_token") and is_call(node, ops.dequantize_per_token):
        source = _tokens(node)
        if source is not None:
            return "dynamic", source
    return "weight-only", node


def quantizes_u8(node: Node) -> bool:
    """Whether a quantize or dequantize node is one of uint8 with its full range, float32 on the other side."""
    low, high, dtype = (argument(node, name) for name in ("quant_min", "quant_max", "dtype"))
    wide = argument(node, "out_dtype") if "out_dtype" in argument_names(node) else node.args[0].meta["val"].dtype  # type: ignore[union-attr]
    return (low, high, dtype) == (0, 255, torch.uint8) and wide in (None, torch.float32)


def _tokens(dequantize: Node) -> Node | None:
    """Return what was quantized row by row, affinely to int8, in the nodes before `dequantize`; else None."""
    ops = quantized_decomposed()
    # Of tiny tokens torch's own rounds more coarsely than the kernels do.
    choosers = (torch.ops.fxcompress.choose_token_range, ops.choose_qparams_per_token_asymmetric)
    quantize, *numbers = dequantize.args[:3]
    if not isinstance(quantize, Node) or not is_call(quantize, ops.quantize_per_token):
        return None
    ranges = [tuple(argument(one, n) for n in ("quant_min", "quant_max", "dtype")) for one in (dequantize, quantize)]
    if list(quantize.args[1:3]) != numbers or ranges != [(-128, 127, torch.int8)] * 2:
        return None
    for index, number in enumerate(numbers):
        if not isinstance(number, Node) or number.target is not operator.getitem or number.args[1] != index:
            return None
        choose = number.args[0]
        if not isinstance(choose, Node) or not is_call(choose, *choosers):
            return None
        if choose.args[0] is not quantize.args[0]:
            return None
    source = quantize.args[0]
    assert isinstance(source, Node)
    # What only cuts gradients off gives the same; a kernel has none.
    return source.args[0] if is_call(source, aten.detach) else source  # type: ignore[return-value]


def _embedding(layer: Node, weight: Quantized) -> Claim | str:
    if weight.group or layer.meta["val"].dtype != torch.float32:
        return "no kernel looks up such rows"
    return Claim("embedding", layer, argument(layer, "indices"), weight, None, layer)


def _convolution(
    layer: Node, kind: str, source: Node, weight: Quantized, bias: Node | None, taken: set[Node]
) -> Claim | str:
    if kind != "static":
        return "no kernel convolves activations that are not quantized to uint8 beforehand"
    if weight.group or layer.target is not aten.conv2d.default or layer.meta["val"].dim() != 4:
        return "no kernel convolves like this"
    return with_what_follows(Claim("convolution", layer, source, weight, bias, layer), taken)


def with_what_follows(claim: Claim, taken: set[Node]) -> Claim:
    """Return `claim` with what alone reads its layer: activation function, residual, and quantization."""
    last, post = _with_post(claim.layer)
    residual, late_post = _residual(last, taken) if claim.kind == "convolution" else None, "none"
    if residual is not None:
        addition = next(iter(last.users))
        taken.add(addition)
        last, late_post = _with_post(addition)
    after, output = _only_user(last), None
    if after is not None and is_call(after, quantized_decomposed().quantize_per_tensor.default) and quantizes_u8(after):
        output = (float(argument(after, "scale")), int(argument(after, "zero_point")))
        last = after
    return replace(claim, last=last, post=post, residual=residual, late_post=late_post, output=output)


def _with_post(node: Node) -> tuple[Node, str]:
    """Return the activation function that alone reads `node`, and its name; else `node` and "none"."""
    after = _only_user(node)
    name = post_of(after) if after is not None else None
    return (after, name) if after is not None and name is not None else (node, "none")


def _residual(node: Node, taken: set[Node]) -> Node | None:
    """Return what is added to `node`, of the same shape, where nothing else reads it."""
    user = next(iter(node.users), None)
    if user is None or len(node.users) != 1 or user in taken:
        return None
    return other_summand(user, node)


def _only_user(node: Node) -> Node | None:
    user = next(iter(node.users), None)
    return user if len(node.users) == 1 and user is not None and user.args[:1] == (node,) else None


def post_of(node: Node) -> str | None:
    """Return the name of the activation function that `node` is, None for another node."""
    if is_call(node, aten.relu.default):
        return "relu"
    if is_call(node, aten.gelu.default):
        return "gelu_tanh" if argument(node, "approximate") == "tanh" else "gelu"
    if is_call(node, aten.silu.default):
        return "silu"
    return None
