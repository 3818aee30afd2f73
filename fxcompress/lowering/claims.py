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
from fxcompress.lowering.samples import rounded_by_sample
from fxcompress.lowering.stored_weights import Quantized, weight_of
from fxcompress.text import listing

aten = torch.ops.aten
Kind = Literal[
    "dynamic", "static", "weight-only", "groups", "convolution", "dynamic convolution", "embedding", "fp8", "floats"
]
# Convolutions of images that are rounded as the model runs: an operator, and the axes of its image.
_OF_SAMPLES: dict[Any, int] = {aten.conv1d.default: 3, aten.conv2d.default: 4}


@dataclass(frozen=True)
class Takes:
    """What the kernels of a device calculate with: dtypes of activations, and where tensors lie as it is lowered."""

    floats: tuple[torch.dtype, ...]
    device: str | None


FLOATS = (torch.float16, torch.bfloat16, torch.float32)
ON_CPU = Takes((torch.float32,), "cpu")
# A graph is lowered for a GPU wherever it lies.
ON_GPU = Takes(FLOATS, None)


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


def claim_of(
    module: GraphModule, layer: Node, taken: set[Node] | None = None, takes: Takes = ON_CPU
) -> Claim | str | None:
    """Return what can be claimed around `layer`, or why nothing can; None where its weight is not quantized.

    Additions among `taken` belong to another claim; one that this claim takes is added there.
    """
    samples = rounded_by_sample(argument(layer, "input")) if is_call(layer, aten.conv1d, aten.conv2d) else None
    if is_call(layer, aten.conv1d) and samples is None:
        return None
    found = weight_of(module, argument(layer, "weight"))
    if found is None or isinstance(found, str):
        return found
    if is_call(layer, aten.embedding):
        return _embedding(layer, found)
    given, bias = argument(layer, "input"), argument(layer, "bias")
    why = unfit(module, given, bias, takes)
    if why:
        return why
    taken = set() if taken is None else taken
    if samples is not None:
        return _of_samples(Claim("dynamic convolution", layer, samples, found, bias, layer), taken)
    kind, source = activation_of(given, takes)
    if is_call(layer, aten.conv2d):
        return _convolution(layer, kind, source, found, bias, taken)
    if found.group:
        return Claim("groups", layer, given, found, bias, layer)
    if kind == "static":
        return with_what_follows(Claim("static", layer, source, found, bias, layer), set())
    return Claim(kind, layer, source, found, bias, layer)


def unfit(module: GraphModule, given: Node, bias: Any, takes: Takes) -> str | None:
    """Return why the operands of a layer suit no kernel."""
    found, stored = given.meta["val"], tensor_of(module, bias)
    if found.dtype not in takes.floats:
        return f"it calculates in {_word(found.dtype)}, the kernels in {listing([*map(_word, takes.floats)])}"
    if takes.device is not None and found.device.type != takes.device:
        return f"it is not on the {takes.device.upper()}"
    if bias is not None and (stored is None or stored.dtype not in takes.floats):
        return f"its bias is no stored {listing([*map(_word, takes.floats)])}"
    return None


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def activation_of(node: Node, takes: Takes = ON_CPU) -> tuple[Literal["dynamic", "static", "weight-only"], Node]:
    """Return how the activation `node` is quantized, and what a kernel for that reads (see `Claim.given`)."""
    ops = quantized_decomposed()
    if is_call(node, ops.dequantize_per_tensor.default) and quantizes_u8(node, takes):
        return "static", node
    if hasattr(ops, "dequantize_per_token") and is_call(node, ops.dequantize_per_token):
        source = _tokens(node)
        if source is not None:
            return "dynamic", source
    return "weight-only", node


def quantizes_u8(node: Node, takes: Takes = ON_CPU) -> bool:
    """Whether a quantize or dequantize node is one of uint8 with its full range, floats on the other side."""
    low, high, dtype = (argument(node, name) for name in ("quant_min", "quant_max", "dtype"))
    wide = argument(node, "out_dtype") if "out_dtype" in argument_names(node) else node.args[0].meta["val"].dtype  # type: ignore[union-attr]
    return (low, high, dtype) == (0, 255, torch.uint8) and wide in (None, *takes.floats)


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


def _of_samples(claim: Claim, taken: set[Node]) -> Claim | str:
    axes = _OF_SAMPLES.get(claim.layer.target)
    batched = is_call(argument(claim.layer, "input"), quantized_decomposed().dequantize_per_channel)
    if claim.weight.group or axes != claim.layer.meta["val"].dim() or not batched:
        return "no kernel convolves like this"
    return with_what_follows(claim, taken)


def with_what_follows(claim: Claim, taken: set[Node]) -> Claim:
    """Return `claim` with what alone reads its layer: activation function, residual, and quantization."""
    last, post = _with_post(claim.layer)
    residual, late_post = _residual(last, taken) if "convolution" in claim.kind else None, "none"
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


def _residual(node: Node, taken: set[Node], takes: Takes = ON_CPU) -> Node | None:
    """Return what is added to `node`, of the same shape, where nothing else reads it."""
    user = next(iter(node.users), None)
    if user is None or len(node.users) != 1 or user in taken:
        return None
    return other_summand(user, node, takes.floats)


def with_epilogue(claim: Claim, taken: set[Node]) -> Claim:
    """Return `claim` with the activation function and the residual that alone read its layer, in any floats."""
    last, post = _with_post(claim.layer)
    residual = _residual(last, taken, ON_GPU)
    if residual is not None and not is_call(residual, aten.expand):
        last = next(iter(last.users))
        taken.add(last)
        return replace(claim, last=last, post=post, residual=residual)
    return replace(claim, last=last, post=post)


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
