"""The nodes of a quantized graph: they give floats back of stored integers, and round activations."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import set_argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import add_tensor, set_tensor
from fxcompress.kernels import ranges
from fxcompress.quantizing.rounding import Rounded
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight

assert ranges  # importing it registers the operator
aten = torch.ops.aten

# Layers, each with the name of the operand that is rounded.
Readers = Iterable[tuple[Node, str]]


class Inserter:
    """Puts calls just before one node, and into the module that this node was captured in."""

    def __init__(self, module: GraphModule, before: Node) -> None:
        self.module, self.before = module, before

    def call(self, target: Any, *args: Any, name: str | None = None, **kwargs: Any) -> Node:
        with self.module.graph.inserting_before(self.before):
            node = self.module.graph.create_node("call_function", target, args, kwargs, name=name)
        if "nn_module_stack" in self.before.meta:
            node.meta["nn_module_stack"] = self.before.meta["nn_module_stack"]
        return node


def insert_weight(module: GraphModule, weight: Weight, rounded: Rounded, scheme: Scheme) -> dict[str, object]:
    """Store the integers and let all that read `weight` read what dequantizes them; return facts of it.

    The facts are the `bits`, the `axis` of output channels, the path of the `scale` (the number itself, where there is
    one for the whole tensor), and where there are any the path of the `zero` points and the size of a `group`.
    """
    first, source = min(weight.users), weight.sources[0]
    facts: dict[str, object] = {"bits": scheme.bits, "axis": weight.output_axis}
    inserter, name = Inserter(module, first), f"{source.name}_dequantized"
    if scheme.granularity == "tensor":
        facts["scale"] = float(rounded.scales)
        facts |= {} if rounded.zeros is None else {"zero": int(rounded.zeros)}
        last = _whole(inserter, weight, rounded, scheme, name)
    else:
        scales = add_tensor(module, f"{weight.path}_scale", rounded.scales, first)
        zeros = None if rounded.zeros is None else add_tensor(module, f"{weight.path}_zero", rounded.zeros, first)
        facts |= {"scale": str(scales.target)} | ({} if zeros is None else {"zero": str(zeros.target)})
        facts |= {"group": scheme.group} if scheme.granularity == "group" else {}
        insert = _grouped if scheme.granularity == "group" else _channels
        last = insert(inserter, weight, scales, zeros, scheme, name)
    read_instead(module, weight, last)
    set_tensor(module, weight.path, rounded.integers)
    return facts


def _whole(inserter: Inserter, weight: Weight, rounded: Rounded, scheme: Scheme, name: str) -> Node:
    """Insert the dequantization by one scale."""
    target = quantized_decomposed().dequantize_per_tensor.default
    zero = 0 if rounded.zeros is None else int(rounded.zeros)
    args = (weight.sources[0], float(rounded.scales), zero, *scheme.range, torch.int8)
    return inserter.call(target, *args, name=name, out_dtype=weight.tensor.dtype)


def _channels(inserter: Inserter, weight: Weight, scales: Node, zeros: Node | None, scheme: Scheme, name: str) -> Node:
    """Insert the dequantization by a scale for each output channel."""
    target = quantized_decomposed().dequantize_per_channel.default
    args = (weight.sources[0], scales, zeros, weight.output_axis, *scheme.range, torch.int8)
    return inserter.call(target, *args, name=name, out_dtype=weight.tensor.dtype)


def _grouped(inserter: Inserter, weight: Weight, scales: Node, zeros: Node | None, scheme: Scheme, name: str) -> Node:
    """Insert the dequantization by groups, which takes rows of output channels, with views around it where needed."""
    source, axis, shape = weight.sources[0], weight.output_axis, list(weight.tensor.shape)
    moved = [shape[axis], *shape[:axis], *shape[axis + 1 :]]
    given = source
    if axis:
        given = inserter.call(aten.movedim.int, given, axis, 0)
    if len(shape) > 2:
        given = inserter.call(aten.reshape.default, given, [moved[0], -1])
    target = quantized_decomposed().dequantize_per_channel_group.default
    args = (given, scales, zeros, *scheme.range, torch.int8, scheme.group, weight.tensor.dtype)
    last = inserter.call(target, *args, name=name)
    if len(shape) > 2:
        last = inserter.call(aten.reshape.default, last, moved)
    return inserter.call(aten.movedim.int, last, 0, axis) if axis else last


def insert_narrow(module: GraphModule, weight: Weight, dtype: torch.dtype) -> dict[str, object]:
    """Store `weight` in the narrower `dtype`, and widen it where it is read."""
    source = weight.sources[0]
    inserter = Inserter(module, min(weight.users))
    wide = inserter.call(aten.to.dtype, source, weight.tensor.dtype, name=f"{source.name}_widened")
    read_instead(module, weight, wide)
    set_tensor(module, weight.path, weight.tensor.detach().to(dtype))
    return {"bits": torch.finfo(dtype).bits, "axis": weight.output_axis, "scale": None}


def read_instead(module: GraphModule, weight: Weight, last: Node) -> None:
    """Let all that read `weight`, but for what `last` is computed by, read `last`."""
    source = weight.sources[0]
    last.meta["val"] = source.meta["val"]
    own = _between(last, source)
    for one in weight.sources:
        for user in [user for user in one.users if user not in own]:
            user.replace_input_with(one, last)
        if one is not source:
            module.graph.erase_node(one)


def _between(last: Node, source: Node) -> set[Node]:
    """Return the calls from `source` to `last`, which were inserted as a chain."""
    found = {last}
    while source not in last.all_input_nodes:
        last = last.all_input_nodes[0]
        found.add(last)
    return found


def round_dynamically(module: GraphModule, value: Node, readers: Readers) -> Node:
    """Let `readers` read `value` as rounded token by token: int8 by the range of the last axis, affine.

    Gradients stop there, as rounding has none.
    """
    ops, readers = quantized_decomposed(), sorted(readers, key=_place)
    inserter = Inserter(module, readers[0][0])
    detached = inserter.call(aten.detach.default, value)
    chosen = inserter.call(torch.ops.fxcompress.choose_token_range.default, detached)
    scales, zeros = (inserter.call(operator.getitem, chosen, place) for place in (0, 1))
    limits = (scales, zeros, -128, 127, torch.int8)
    integers = inserter.call(ops.quantize_per_token.default, detached, *limits, name=f"{value.name}_quantized")
    floats = inserter.call(
        ops.dequantize_per_token.default, integers, *limits, value.meta["val"].dtype, name=f"{value.name}_dequantized"
    )
    return _given_instead(value, floats, readers)


def round_by_sample(module: GraphModule, value: Node, readers: Readers, batched: bool) -> Node:
    """Let `readers` read `value` as rounded to uint8, each index of axis 0 by its own range, affine.

    Without a batch (`batched` false) all of it is one sample. Gradients stop there, as rounding has none.
    """
    ops, readers = quantized_decomposed(), sorted(readers, key=_place)
    inserter = Inserter(module, readers[0][0])
    given = inserter.call(aten.detach.default, value)
    if not batched:
        given = inserter.call(aten.unsqueeze.default, given, 0)
    chosen = inserter.call(torch.ops.fxcompress.choose_sample_range.default, given)
    scales, zeros = (inserter.call(operator.getitem, chosen, place) for place in (0, 1))
    limits = (scales, zeros, 0, 0, 255, torch.uint8)
    integers = inserter.call(ops.quantize_per_channel.default, given, *limits, name=f"{value.name}_quantized")
    dtype = value.meta["val"].dtype
    floats = inserter.call(
        ops.dequantize_per_channel.default, integers, *limits, name=f"{value.name}_dequantized", out_dtype=dtype
    )
    if not batched:
        floats = inserter.call(aten.squeeze.dim, floats, 0)
    return _given_instead(value, floats, readers)


def round_statically(module: GraphModule, value: Node, scale: float, zero: int, readers: Readers) -> Node:
    """Let `readers` read `value` as rounded to uint8 by one scale and zero point."""
    ops, readers = quantized_decomposed(), sorted(readers, key=_place)
    inserter = Inserter(module, readers[0][0])
    limits = (scale, zero, 0, 255, torch.uint8)
    integers = inserter.call(ops.quantize_per_tensor.default, value, *limits, name=f"{value.name}_quantized")
    floats = inserter.call(
        ops.dequantize_per_tensor.default,
        integers,
        *limits,
        name=f"{value.name}_dequantized",
        out_dtype=value.meta["val"].dtype,
    )
    return _given_instead(value, floats, readers)


def narrow(module: GraphModule, value: Node, dtype: torch.dtype, readers: Readers) -> Node:
    """Let `readers` read `value` as rounded to `dtype`; gradients pass."""
    readers = sorted(readers, key=_place)
    inserter = Inserter(module, readers[0][0])
    rounded = inserter.call(aten.to.dtype, value, dtype, name=f"{value.name}_narrowed")
    wide = inserter.call(aten.to.dtype, rounded, value.meta["val"].dtype, name=f"{value.name}_widened")
    return _given_instead(value, wide, readers)


def _given_instead(value: Node, rounded: Node, readers: Readers) -> Node:
    """Let the operands of `readers` be `rounded` in place of `value`."""
    rounded.meta["val"] = value.meta["val"]
    for reader, operand in readers:
        set_argument(reader, operand, rounded)
    return rounded


def _place(reader: tuple[Node, str]) -> Node:
    return reader[0]
