"""Calls that make one value of an axis: sums, means, maxima, softmax, and the norm layers."""

from __future__ import annotations

from fxcompress.analysis.axes.axis import AVERAGED, NORMALISED, RMS_NORMALISED, SUMMED, Axis, Value
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.shapes import along
from fxcompress.analysis.axes.rules.table import AFFINE, KEEP, LOSE, named, rule
from fxcompress.analysis.axes.terms import Term
from fxcompress.graph.nodes import argument_names

NORMALISES = "normalises over this axis (softmax)"


@rule(*named("sum", "nansum", "count_nonzero"))
def total(op: Op) -> None:
    for axis in _kept(op):
        op.reduce(axis, SUMMED)


@rule(*named("mean"))
def mean(op: Op) -> None:
    for axis in _kept(op):
        op.reduce(axis, AVERAGED)


@rule(*named("linalg_vector_norm", "norm"))
def norm(op: Op) -> None:
    order = op.argument("ord") if "linalg" in str(op.node.target) else op.argument("p")
    for axis in _kept(op):
        if order is None or (isinstance(order, int | float) and 0 < order < float("inf")):
            op.reduce(axis, SUMMED)
        else:
            op.pin(axis, "takes the largest or smallest over this axis")


@rule(*named("var", "std", "var_mean", "std_mean", "nanmean"))
def variance(op: Op) -> None:
    for axis in _kept(op):
        op.reduce(axis, NORMALISED)


@rule(*named("amax", "amin", "max", "min", "any", "all", "prod", "aminmax", "median", "nanmedian", "mode"))
def largest(op: Op) -> None:
    for axis in _kept(op):
        op.pin(axis, "takes one of all positions of this axis")


@rule(*named("argmax", "argmin", "logsumexp"), zeros=LOSE)
def place(op: Op) -> None:
    for axis in _kept(op):
        op.pin(axis, "takes one of all positions of this axis")


def _kept(op: Op) -> list[Axis]:
    """State that the axes that stay are equal; return those that do not."""
    given = op.tensors()[0]
    names = argument_names(op.node)
    count = len(given.axes)
    dims = op.argument("dim") if "dim" in names else None
    chosen = [dims] if isinstance(dims, int) else dims
    gone = {dim % count for dim in chosen} if chosen else set(range(count))
    for output in op.outputs:
        if output is None:
            continue
        rest = given.axes if len(output.axes) == count else [axis for axis in given.axes if axis.dim not in gone]
        for one, other in zip(rest, output.axes, strict=True):
            if one.dim not in gone:
                op.equal(one, other)
    return [axis for axis in given.axes if axis.dim in gone]


@rule(*named("softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax"), zeros=LOSE)
def softmax(op: Op) -> None:
    given = op.given("self")
    along(op, given.axes, op.output.axes, {op.argument("dim") % len(given.axes)}, NORMALISES)


@rule(*named("layer_norm"), zeros=AFFINE)
def layer_norm(op: Op) -> None:
    _over_last(op, len(op.argument("normalized_shape")), NORMALISED, "weight", "bias")


@rule(*named("rms_norm"), zeros=AFFINE)
def rms_norm(op: Op) -> None:
    _over_last(op, len(op.argument("normalized_shape")), RMS_NORMALISED, "weight")


def _over_last(op: Op, count: int, role: str, *affine: str) -> None:
    given = op.given("input")
    for axis in given.axes[-count:]:
        op.reduce(axis, role)
    op.broadcast(given)
    for name in affine:
        _broadcast_some(op, op.input(name))


def _broadcast_some(op: Op, value: Value | None) -> None:
    if value is not None:
        op.broadcast(value)


@rule(*named("group_norm"), zeros=AFFINE)
def group_norm(op: Op) -> None:
    given = op.given("input")
    groups = op.argument("num_groups")
    inner = Term(given.axes[1].size // groups)
    op.broadcast(given)
    op.equal(given.axes[1], *(value.axes[0] for value in map(op.input, ("weight", "bias")) if value is not None))
    if inner.size == 1:
        pass  # each channel is a group of its own
    elif groups == 1:
        op.reduce(given.axes[1], NORMALISED)
    else:
        op.grouped(given.axes[1], Term(groups), inner)
        op.reduce(given.axes[1], NORMALISED, inner)
    for axis in given.axes[2:]:
        op.reduce(axis, NORMALISED)


@rule(*named("batch_norm", "instance_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"), zeros=AFFINE)
def batch_norm(op: Op) -> None:
    given = op.given("input")
    op.broadcast(given)
    stored = (op.input(name) for name in ("weight", "bias", "running_mean", "running_var"))
    op.equal(given.axes[1], *(value.axes[0] for value in stored if value is not None))
    if _measures(op):
        each = "instance" in str(op.node.target)
        for axis in given.axes[2:] if each else (given.axes[0], *given.axes[2:]):
            op.reduce(axis, NORMALISED)


def _measures(op: Op) -> bool:
    """Whether the call takes mean and variance from what it is given."""
    names = argument_names(op.node)
    flag = next((name for name in ("training", "use_input_stats") if name in names), None)
    return flag is not None and bool(op.argument(flag))


@rule(*named("_weight_norm"), zeros=LOSE)
def weight_norm(op: Op) -> None:
    """`g * v / ||v||`, the norm over all axes but one."""
    direction, size = op.given("v"), op.given("g")
    op.broadcast(direction)
    op.broadcast(size)
    for axis in direction.axes:
        if axis.dim != op.argument("dim") % len(direction.axes):
            op.reduce(axis, SUMMED)


@rule(*named("cosine_similarity"), zeros=KEEP)
def cosine_similarity(op: Op) -> None:
    op.pin([axis for value in (*op.tensors(), op.output) for axis in value.axes], "compares vectors")
