"""Calls that put axes one behind the other, or take pieces of them."""

from __future__ import annotations

from fxcompress.analysis.axes.axis import Axis, Value
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import named, rule

ONE = "handles one position by its number"


@rule(*named("cat", "concat", "concatenate"))
def cat(op: Op) -> None:
    values = [value for value in op.inputs("tensors") if value is not None and len(value.axes) == len(op.output.axes)]
    dim = op.argument("dim") % len(op.output.axes)
    for axis in op.output.axes:
        if axis.dim == dim:
            op.cat([value.axes[dim] for value in values], axis)
        else:
            op.equal(axis, *(value.axes[axis.dim] for value in values))


@rule(*named("hstack", "vstack", "dstack", "column_stack"))
def hstack(op: Op) -> None:
    values = [value for value in op.inputs("tensors") if value is not None]
    op.pin([axis for value in (*values, op.output) for axis in value.axes], "stacks tensors")


@rule(*named("stack"))
def stack(op: Op) -> None:
    """A new axis, whose positions are the tensors."""
    out = op.output
    dim = op.argument("dim") % len(out.axes)
    op.pin(out.axes[dim], "has one position for each tensor")
    rest = [axis for axis in out.axes if axis.dim != dim]
    for value in op.inputs("tensors"):
        for one, other in zip(value.axes if value is not None else (), rest, strict=False):
            op.equal(one, other)


@rule(*named("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk"))
def split(op: Op) -> None:
    given, count = op.given("self"), len(op.given("self").axes)
    dim = op.argument("dim") % count
    parts = [output for output in op.outputs if output is not None]
    for axis in given.axes:
        if axis.dim == dim:
            op.cat([part.axes[dim] for part in parts], axis)
        else:
            op.equal(axis, *(part.axes[axis.dim] for part in parts))


@rule(*named("unbind"))
def unbind(op: Op) -> None:
    given = op.given("self")
    dim = op.argument("dim") % len(given.axes)
    op.pin(given.axes[dim], ONE)
    for output in op.outputs:
        if output is not None:
            _without(op, given, dim, output)


@rule(*named("select"))
def select(op: Op) -> None:
    given = op.given("self")
    dim, index = op.argument("dim") % len(given.axes), op.argument("index")
    _without(op, given, dim, op.output)
    axis = given.axes[dim]
    if isinstance(index, int):
        op.slice(axis, None, index % axis.size, 1)
    else:
        op.pin(axis, ONE)


def _without(op: Op, given: Value, dim: int, made: Value) -> None:
    rest = [axis for axis in given.axes if axis.dim != dim]
    for one, other in zip(rest, made.axes, strict=True):
        op.equal(one, other)


@rule(*named("slice", "slice_copy"))
def slice_(op: Op) -> None:
    given, out, dim = op.given("self"), op.output, op.argument("dim")
    _slice(op, given, out, dim % len(given.axes))


def _slice(op: Op, whole: Value, part: Value, dim: int) -> None:
    """State that `part` is what the call's start, end and step take of `whole` along `dim`."""
    for one, other in zip(whole.axes, part.axes, strict=True):
        if one.dim != dim:
            op.equal(one, other)
    one, other = whole.axes[dim], part.axes[dim]
    start, step = op.argument("start") or 0, op.argument("step")
    if one.size == other.size:
        op.equal(one, other)
    elif not isinstance(start, int) or not isinstance(step, int):
        op.pin((one, other), "takes a piece whose place is computed")
    elif step != 1:
        _strided(op, one, other, start, step)
    else:
        start = max(0, start + one.size) if start < 0 else min(start, one.size)
        if start + other.size > one.size:
            op.pin((one, other), "takes a piece of a dynamic size")
        else:
            op.slice(one, other, start, other.size)


def _strided(op: Op, whole: Axis, part: Axis, start: int, step: int) -> None:
    if whole.size % step == 0 and part.size * step == whole.size and 0 <= start < step:
        op.stride(whole, part, step)
    else:
        op.pin((whole, part), "takes positions at a distance")


@rule(*named("narrow"))
def narrow(op: Op) -> None:
    given, out = op.given("self"), op.output
    dim, start = op.argument("dim") % len(given.axes), op.argument("start")
    for one, other in zip(given.axes, out.axes, strict=True):
        if one.dim != dim or one.size == other.size:
            op.equal(one, other)
        elif isinstance(start, int):
            op.slice(one, other, start % one.size, other.size)
        else:
            op.pin((one, other), "takes a piece whose place is computed")


@rule(*named("slice_scatter"))
def slice_scatter(op: Op) -> None:
    given, source, out = op.given("self"), op.given("src"), op.output
    for one, other in zip(given.axes, out.axes, strict=True):
        op.equal(one, other)
    _slice(op, out, source, op.argument("dim") % len(given.axes))


@rule(*named("select_scatter"))
def select_scatter(op: Op) -> None:
    given, source, out = op.given("self"), op.given("src"), op.output
    dim = op.argument("dim") % len(given.axes)
    for one, other in zip(given.axes, out.axes, strict=True):
        op.equal(one, other)
    _without(op, out, dim, source)
    op.pin(out.axes[dim], ONE)


@rule(*named("constant_pad_nd", "pad"))
def pad(op: Op) -> None:
    """Padding before and behind an axis: slots of nobody else's."""
    given, out = op.given("self"), op.output
    mode = "constant" if "constant" in str(op.node.target) else op.argument("mode")
    amounts = [op.argument("pad")[place : place + 2] for place in range(0, len(op.argument("pad")), 2)]
    for one, other in zip(reversed(given.axes), reversed(out.axes), strict=True):
        before, after = amounts.pop(0) if amounts else (0, 0)
        if not isinstance(before, int) or not isinstance(after, int):
            op.pin((one, other), "pads this axis by a computed number")
        elif (before, after) == (0, 0):
            op.equal(one, other)
        elif mode != "constant" or one.size == 1 or before < 0 or after < 0:
            op.pin((one, other), "pads this axis")
        else:
            op.cat([before, one, after], other)
