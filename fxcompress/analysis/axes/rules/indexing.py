"""Calls that look positions up by number: the axis that is indexed keeps its slots, the others pass."""

from __future__ import annotations

import torch

from fxcompress.analysis.axes.axis import Axis, Value
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import LOSE, named, rule

LOOKS_UP = "looks positions of this axis up by their numbers"
WRITES = "writes to positions by their numbers"


@rule(*named("embedding"))
def embedding(op: Op) -> None:
    weight, indices, out = op.given("weight"), op.given("indices"), op.output
    op.pin(weight.axes[0], LOOKS_UP)
    op.equal(weight.axes[1], out.axes[-1])
    for one, other in zip(indices.axes, out.axes[:-1], strict=True):
        op.equal(one, other)


@rule(*named("index", "_unsafe_index"))
def index(op: Op) -> None:
    """`x[:, i, j]`: the indexed axes give way to those of the indices, in their place if they stand side by side."""
    given, out = op.given("self"), op.output
    indices = op.inputs("indices")
    places = [place for place, one in enumerate(indices) if one is not None]
    some = [one for one in indices if one is not None]
    if any(_is_mask(one) for one in some):
        op.pin([axis for value in (given, *some, out) for axis in value.axes], "picks positions by a mask")
        return
    op.pin([given.axes[place] for place in places], LOOKS_UP)
    width = max(len(one.axes) for one in some)
    together = places == list(range(places[0], places[0] + len(places)))
    start = places[0] if together else 0
    looked_up = out.axes[start : start + width]
    for one in some:
        _broadcast(op, one, looked_up)
    rest = [axis for axis in given.axes if axis.dim not in places]
    for one_axis, other in zip(rest, (*out.axes[:start], *out.axes[start + width :]), strict=True):
        op.equal(one_axis, other)


def _broadcast(op: Op, value: Value, target: tuple[Axis, ...]) -> None:
    for one, other in zip(reversed(value.axes), reversed(target), strict=False):
        op.equal(one, other)


def _is_mask(value: Value) -> bool:
    return value.dtype in (torch.bool, torch.uint8)


@rule(*named("index_select"))
def index_select(op: Op) -> None:
    """A constant index moves slots about: a shuffle, or a choice of them."""
    given, chosen, out = op.given("self"), op.given("index"), op.output
    index = op.constant("index")
    places = None if index is None else index.reshape(-1).tolist()
    for one, other in zip(given.axes, out.axes, strict=True):
        if one.dim != op.argument("dim") % len(given.axes):
            op.equal(one, other)
        elif places is not None and one.size > 1 and other.size > 1:
            op.gather(one, other, places)
            op.pin(chosen.axes, LOOKS_UP)
        else:
            op.pin(one, LOOKS_UP)
            op.equal(other, chosen.axes[0] if chosen.axes else None)


@rule(*named("gather", "take_along_dim"))
def gather(op: Op) -> None:
    given, chosen, out = op.tensors()[0], op.tensors()[-1], op.output
    dim = op.argument("dim") % len(given.axes)
    for one, other, result in zip(given.axes, chosen.axes, out.axes, strict=True):
        if one.dim == dim:
            op.pin(one, LOOKS_UP)
            op.equal(other, result)
        elif {one.size, other.size} <= {1, result.size}:
            op.equal(one, other, result)
        else:
            op.pin((one, other, result), LOOKS_UP)


@rule(*named("index_put", "_unsafe_index_put", "_index_put_impl"), zeros=LOSE)
def index_put(op: Op) -> None:
    """`x[:, i] = values`: the axes of `x` that are not indexed are those of the values."""
    given, values, out = op.given("self"), op.given("values"), op.output
    indices = op.inputs("indices")
    some = [one for one in indices if one is not None]
    op.broadcast(given)
    op.pin([axis for one in some for axis in one.axes], WRITES)
    op.pin([given.axes[place] for place, one in enumerate(indices) if one is not None], WRITES)
    if [one is not None for one in indices] == [True] * len(some) and not any(map(_is_mask, some)):
        rest = given.axes[len(some) :]
        for one, other in zip(reversed(rest), reversed(values.axes), strict=False):
            op.equal(one, other)
        op.pin(values.axes[: len(values.axes) - len(rest)], WRITES)
    else:
        op.pin((*values.axes, *out.axes), WRITES)


@rule(*named("index_add", "index_copy"))
def index_add(op: Op) -> None:
    given, source = op.given("self"), op.given("source")
    op.broadcast(given)
    op.pin(op.given("index").axes, WRITES)
    for one, other in zip(given.axes, source.axes, strict=True):
        if one.dim == op.argument("dim") % len(given.axes):
            op.pin((one, other), WRITES)
        else:
            op.equal(one, other)


@rule(*named("scatter", "scatter_add", "scatter_reduce", "index_fill", "masked_scatter", "index_reduce"), zeros=LOSE)
def scatter(op: Op) -> None:
    values = [*op.tensors(), op.output]
    op.pin([axis for value in values for axis in value.axes], WRITES)


@rule(*named("one_hot"), zeros=LOSE)
def one_hot(op: Op) -> None:
    op.pin(op.output.axes[-1], "has a position for each class")
    for one, other in zip(op.given("self").axes, op.output.axes, strict=False):
        op.equal(one, other)


@rule(*named("arange", "linspace", "eye", "randperm", "tril_indices", "triu_indices", "logspace"), zeros=LOSE)
def numbered(op: Op) -> None:
    op.pin(op.output.axes, "gives every position a value of its own")


@rule(*named("zeros", "ones", "full", "empty", "rand", "randn", "new_zeros", "new_ones", "new_full", "new_empty"))
@rule(*named("scalar_tensor"), zeros=LOSE)
def filled(op: Op) -> None:
    """Sizes are given by numbers, which pruning rewrites; no axis follows from that of another tensor."""
