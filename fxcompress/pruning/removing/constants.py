"""Rewriting the constants of calls: sizes of views, pieces and factories, numbers of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.call_axes import CallAxes
from fxcompress.analysis.axes.groups import Kept
from fxcompress.analysis.axes.sizes import is_dynamic
from fxcompress.analysis.axes.terms import factors
from fxcompress.errors import PassFailed
from fxcompress.graph.nodes import argument_names, set_argument

aten = torch.ops.aten


class Call(CallAxes):
    """A call with what is left of the axes around it."""

    def __init__(self, axes: Axes, kept: Kept, node: Node) -> None:
        super().__init__(node, axes.value, axes.values[node])
        self.kept = kept

    def put(self, name: str, value: Any) -> None:
        """Set an argument, unless it has this value."""
        if self.argument(name) != value:
            set_argument(self.node, name, value)

    def size(self, axis: Axis) -> int:
        """Return how many positions of `axis` are left."""
        return self.kept.size(axis.term) if axis.size > 1 else axis.size

    def before(self, axis: Axis, place: int) -> int:
        """Return how many of the positions of `axis` before `place` are left."""
        mask = None if is_dynamic(axis.size) or axis.size == 1 else self.kept.positions(axis.term)
        return place if mask is None else int(mask[:place].sum())

    def touched(self) -> bool:
        """Whether any axis around the call loses positions."""
        values = [*self.outputs, *self.tensors()]
        return any(self.size(axis) != axis.size for value in values if value is not None for axis in value.axes)


Rewriter = Callable[[Call], None]
_REWRITERS: dict[Any, Rewriter] = {}


def rewrites(*names: str) -> Callable[[Rewriter], Rewriter]:
    """Register a function as what rewrites the constants of the ATen operators `names`."""

    def register(rewriter: Rewriter) -> Rewriter:
        for name in names:
            if hasattr(aten, name):
                _REWRITERS[getattr(aten, name)] = rewriter
        return rewriter

    return register


def rewrite_constants(axes: Axes, kept: Kept, node: Node) -> None:
    """Rewrite the arguments of `node` that mention a size that changes."""
    rewriter = _REWRITERS.get(getattr(node.target, "overloadpacket", None))
    if rewriter is not None:
        call = Call(axes, kept, node)
        if call.touched():
            rewriter(call)


@rewrites("view", "reshape", "_unsafe_view", "expand", "broadcast_to", "unflatten", "view_copy")
@rewrites("zeros", "ones", "full", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty")
def _shape(call: Call) -> None:
    names = argument_names(call.node)
    name = next(name for name in ("size", "shape", "sizes") if name in names)
    axes = call.output.axes
    if name == "sizes":  # of unflatten, which has those of one axis
        dim = call.argument("dim") % len(call.given("self").axes)
        axes = axes[dim : dim + len(call.argument("sizes"))]
    call.put(name, sizes_left(call, call.argument(name), axes))


def sizes_left(call: Call, given: list[Any], axes: tuple[Axis, ...]) -> list[Any]:
    """Return the sizes of `axes` as `given` has them, with those that change rewritten."""
    made = []
    for one, axis in zip(given, axes, strict=True):
        left = call.size(axis)
        if one == -1 or left == axis.size:
            made.append(one)
        else:
            made.append(-1 if is_dynamic(left) else left)
    if made.count(-1) > 1:
        # One size may be left open: the dynamic one.
        made = [
            call.size(axis) if one == -1 and not is_dynamic(axis.size) else one
            for one, axis in zip(made, axes, strict=True)
        ]
    if made.count(-1) > 1 and "expand" not in str(call.node.target):
        raise PassFailed("two dynamic sizes of one view change", call.node, hint="ignore= leaves the layer alone")
    return made


@rewrites("squeeze")
def _squeeze(call: Call) -> None:
    """An axis of which one slot is left is no axis of size 1: what was dropped is dropped, and nothing else."""
    axes = call.given("self").axes
    given = call.argument("dim") if "dim" in argument_names(call.node) else list(range(len(axes)))
    dims = [dim % len(axes) for dim in (given if isinstance(given, list | tuple) else [given])]
    call.node.target = aten.squeeze.dims
    call.node.args, call.node.kwargs = (call.node.args[0], [dim for dim in dims if axes[dim].size == 1]), {}


@rewrites("repeat", "tile")
def _repeat(call: Call) -> None:
    name = "repeats" if "repeat" in str(call.node.target) else "dims"
    counts, given = list(call.argument(name)), call.given("self").axes
    for place in range(1, len(counts) + 1):
        whole = call.output.axes[-place]
        if (place > len(given) or given[-place].size == 1) and call.size(whole) != whole.size:
            counts[-place] = call.size(whole)
    call.put(name, counts)


@rewrites("repeat_interleave")
def _repeat_interleave(call: Call) -> None:
    dim = call.argument("dim")
    if isinstance(dim, int):
        one, whole = call.given("self").axes[dim], call.output.axes[dim]
        if not is_dynamic(call.size(whole)):
            call.put("repeats", call.size(whole) // call.size(one))
            if isinstance(call.argument("output_size"), int):
                call.put("output_size", call.size(whole))


@rewrites("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def _split(call: Call) -> None:
    dim = call.argument("dim") % len(call.given("self").axes)
    whole = call.given("self").axes[dim]
    if call.size(whole) == whole.size:
        return
    sizes = [call.size(output.axes[dim]) for output in call.outputs if output is not None]
    call.node.target = aten.split_with_sizes.default
    call.node.args, call.node.kwargs = (call.node.args[0], sizes, dim), {}


@rewrites("slice", "slice_scatter", "slice_copy")
def _slice(call: Call) -> None:
    whole = call.given("self").axes[call.argument("dim")]
    part = (call.given("src") if "scatter" in str(call.node.target) else call.output).axes[call.argument("dim")]
    start = call.argument("start") or 0
    if call.size(whole) == whole.size or call.argument("step") != 1 or not isinstance(start, int):
        return
    first = max(0, start + whole.size) if start < 0 else min(start, whole.size)
    left = call.before(whole, first)
    if first:
        call.put("start", left)
    if first + part.size < whole.size:
        call.put("end", left + call.size(part))


@rewrites("narrow")
def _narrow(call: Call) -> None:
    whole, part = (value.axes[call.argument("dim")] for value in (call.given("self"), call.output))
    if isinstance(call.argument("start"), int) and not is_dynamic(whole.size):
        call.put("start", call.before(whole, call.argument("start") % whole.size))
        call.put("length", call.size(part))


@rewrites("select")
def _select(call: Call) -> None:
    whole = call.given("self").axes[call.argument("dim")]
    if isinstance(call.argument("index"), int) and call.size(whole) != whole.size:
        call.put("index", call.before(whole, call.argument("index") % whole.size))


@rewrites("constant_pad_nd", "pad")
def _pad(call: Call) -> None:
    amounts = list(call.argument("pad"))
    for place in range(len(amounts) // 2):
        one, whole = call.given("self").axes[-1 - place], call.output.axes[-1 - place]
        if call.size(one) != one.size or call.size(whole) != whole.size:
            amounts[2 * place] = call.before(whole, amounts[2 * place])
            amounts[2 * place + 1] = call.size(whole) - call.size(one) - amounts[2 * place]
    call.put("pad", amounts)


@rewrites("conv1d", "conv2d", "conv3d")
def _convolution(call: Call) -> None:
    weight = call.given("weight")
    channels = call.given("input").axes[-len(weight.axes) + 1]
    call.put("groups", call.size(channels) // call.size(weight.axes[1]))


@rewrites("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed_convolution(call: Call) -> None:
    weight = call.given("weight")
    made = call.output.axes[-len(weight.axes) + 1]
    call.put("groups", call.size(made) // call.size(weight.axes[1]))


@rewrites("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(call: Call) -> None:
    call.put("groups", groups_left(call, call.given("self").axes[1], call.argument("groups")))


@rewrites("group_norm")
def _group_norm(call: Call) -> None:
    call.put("num_groups", groups_left(call, call.given("input").axes[1], call.argument("num_groups")))


def groups_left(call: Call, axis: Axis, groups: int) -> int:
    """Return how many of the `groups` that `axis` starts with are left."""
    if groups == 1:
        return 1
    count = left = 1
    for factor in factors(axis.term):
        if count == groups:
            break
        count *= factor.size
        left *= call.kept.size(factor)
    return left


@rewrites("layer_norm", "native_layer_norm", "rms_norm")
def _over_last(call: Call) -> None:
    axes = call.given("input").axes[-len(call.argument("normalized_shape")) :]
    call.put("normalized_shape", [call.size(axis) for axis in axes])
