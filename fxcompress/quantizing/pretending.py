"""The nodes of a graph that is trained for its quantization: put in, and turned into those of a quantized graph."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

import fxcompress.kernels  # noqa: F401  (registers the operators)
from fxcompress.errors import PassFailed
from fxcompress.graph.nodes import argument, calls, scope, set_argument
from fxcompress.graph.tensors import Sources, add_tensor, drop_unused, tensor_of
from fxcompress.kernels.fake_quantize import integers_of, steps_of
from fxcompress.quantizing.activations import Activation
from fxcompress.quantizing.nodes import (
    Inserter,
    insert_weight,
    read_instead,
    round_by_sample,
    round_dynamically,
    round_statically,
)
from fxcompress.quantizing.rounding import Rounded, round_weight
from fxcompress.schemes import Granularity, Scheme
from fxcompress.weights import Weight

ours = torch.ops.fxcompress


def pretend_weight(module: GraphModule, weight: Weight, scheme: Scheme) -> dict[str, object]:
    """Let all that read `weight` read it rounded; return where the scales are. The weight itself stays as it is."""
    first, rounded = min(weight.users), round_weight(weight, scheme)
    scale = add_tensor(module, f"{weight.path}_scale", rounded.scales, first)
    stretch = _stretch(module, f"{weight.path}_stretch", rounded.scales, first)
    zero = None if rounded.zeros is None else add_tensor(module, f"{weight.path}_zero", rounded.zeros, first)
    group = scheme.group if scheme.granularity == "group" else 0
    source = weight.sources[0]
    made = Inserter(module, first).call(
        ours.fake_quantize_weight.default,
        *(source, scale, stretch, zero, weight.output_axis, group, *scheme.range),
        name=f"{source.name}_fake_quantized",
    )
    read_instead(module, weight, made)
    return {"bits": scheme.bits, "scale": str(scale.target), "stretch": str(stretch.target)}


def pretend_activation(module: GraphModule, one: Activation) -> dict[str, object]:
    """Let the readers of an activation read it rounded; return facts of it."""
    readers = sorted(one.readers, key=lambda pair: pair[0])
    first = readers[0][0]
    inserter, name = Inserter(module, first), f"{one.value.name}_fake_quantized"
    facts: dict[str, object] = {"readers": [reader.name for reader, _ in one.readers]}
    if one.kind == "token":
        made = inserter.call(ours.fake_quantize_tokens.default, one.value, name=name)
    elif one.kind in ("sample", "whole"):
        made = inserter.call(ours.fake_quantize_samples.default, one.value, one.kind == "sample", name=name)
    else:
        path = f"{scope(first)}.input" if scope(first) else f"{first.name}_input"
        scale = add_tensor(module, f"{path}_scale", torch.tensor(one.scale), first)
        stretch = _stretch(module, f"{path}_stretch", torch.tensor(one.scale), first)
        facts |= {"scale": str(scale.target), "stretch": str(stretch.target), "zero": one.zero}
        made = inserter.call(ours.fake_quantize_tensor.default, one.value, scale, stretch, one.zero, 0, 255, name=name)
    made.meta["val"] = one.value.meta["val"]
    for reader, operand in readers:
        set_argument(reader, operand, made)
    return facts


def _stretch(module: GraphModule, path: str, scales: torch.Tensor, before: Node) -> Node:
    return add_tensor(module, path, torch.nn.Parameter(torch.zeros_like(scales)), before)


def pretended(module: GraphModule) -> tuple[list[Node], list[Node]]:
    """Return the calls that pretend: of weights, and of activations."""
    graph = module.graph
    activations = (ours.fake_quantize_tensor, ours.fake_quantize_tokens, ours.fake_quantize_samples)
    return calls(graph, ours.fake_quantize_weight), calls(graph, *activations)


def convert_weight(module: GraphModule, node: Node) -> tuple[str, dict[str, Any], int]:
    """Store the integers that `node` rounds to, with what dequantizes them in its place.

    Returns:
        path of the weight, the facts that `insert_weight` gives, and the bytes saved.

    Raises:
        PassFailed: what it rounds is not stored.
    """
    source = argument(node, "weight")
    tensor = tensor_of(module, source)
    if tensor is None:
        raise PassFailed("what is rounded as a weight is not stored", node, hint="convert before other passes")
    if not tensor.isfinite().all():
        raise PassFailed(f"{source.target} holds numbers that are not finite", node, hint="train with a smaller rate")
    scheme = _scheme_of(node)
    given = [argument(node, name) for name in ("scale", "stretch", "zero")]
    scale, stretch, zero = (tensor_of(module, one) for one in given)
    assert scale is not None
    assert stretch is not None
    numbers = [argument(node, name) for name in ("axis", "group", "low", "high")]
    integers = integers_of(tensor, scale, stretch, zero, *numbers)
    rounded = Rounded(integers, steps_of(scale, stretch), zero)
    _drop(module, node, source, [str(one.target) for one in given if one is not None])
    weight = Weight(str(source.target), tensor, (), tuple(Sources(module).of(source)), numbers[0])
    return weight.path, insert_weight(module, weight, rounded, scheme), tensor.nbytes - rounded.nbytes


def _scheme_of(node: Node) -> Scheme:
    """Return the scheme whose weights are those of `node`."""
    low, high, group = (argument(node, name) for name in ("low", "high", "group"))
    scale: Node = argument(node, "scale")
    granularity: Granularity = "group" if group else "channel" if scale.meta["val"].dim() else "tensor"
    bits = (high - low).bit_length()
    return Scheme(f"w{bits}a16", bits, granularity, symmetric=low == -high, group=group)


def convert_activation(module: GraphModule, node: Node) -> dict[str, object]:
    """Put the nodes that quantize and dequantize in the place of one that pretends to; return facts of it."""
    value: Node = argument(node, "input")
    facts: dict[str, object] = {"readers": [user.name for user in node.users]}
    paths: list[str] = []
    # The node reads the new ones for a moment, then all its readers do.
    if node.target is ours.fake_quantize_tokens.default:
        made = round_dynamically(module, value, [(node, "input")])
    elif node.target is ours.fake_quantize_samples.default:
        made = round_by_sample(module, value, [(node, "input")], argument(node, "batched"))
    else:
        given = [argument(node, name) for name in ("scale", "stretch")]
        scale, stretch = (tensor_of(module, one) for one in given)
        assert scale is not None
        assert stretch is not None
        facts |= {"scale": float(steps_of(scale, stretch)), "zero": argument(node, "zero")}
        made = round_statically(
            module, value, float(steps_of(scale, stretch)), argument(node, "zero"), [(node, "input")]
        )
        paths = [str(one.target) for one in given]
    _drop(module, node, made, paths)
    return facts


def _drop(module: GraphModule, node: Node, instead: Node, paths: list[str]) -> None:
    """Take `node` out, and the tensors under `paths` that it alone reads."""
    node.replace_all_uses_with(instead)
    module.graph.erase_node(node)
    drop_unused(module, paths)
