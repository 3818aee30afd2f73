"""Calls that give the same positions another shape or order: views, permutations, repetition."""

from __future__ import annotations

from collections.abc import Sequence

from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import LOSE, named, rule
from fxcompress.analysis.axes.terms import Term
from fxcompress.graph.nodes import argument_names


@rule(*named("view", "reshape", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten"))
@rule(*named("squeeze", "unsqueeze", "squeeze_copy", "unsqueeze_copy", "view_copy", "atleast_1d", "atleast_2d"))
def view(op: Op) -> None:
    op.view(op.tensors()[0].axes, op.output.axes)
    if len(op.tensors()) == 2:
        op.broadcast(op.tensors()[1])


@rule(*named("permute"))
def permute(op: Op) -> None:
    axes = op.given("self").axes
    for place, dim in enumerate(op.argument("dims")):
        op.equal(op.output.axes[place], axes[dim])


@rule(*named("transpose", "swapaxes", "swapdims"))
def transpose(op: Op) -> None:
    axes = list(op.given("self").axes)
    one, other = (op.argument(name) for name in argument_names(op.node)[1:3])
    axes[one], axes[other] = axes[other], axes[one]
    for axis, output in zip(axes, op.output.axes, strict=True):
        op.equal(axis, output)


@rule(*named("t", "numpy_T", "mT", "matrix_H", "adjoint"))
def transposed(op: Op) -> None:
    axes = op.given("self").axes
    head, tail = (axes[:-2], axes[-2:]) if "numpy_T" not in str(op.node.target) else ((), axes)
    for axis, output in zip((*head, *reversed(tail)), op.output.axes, strict=True):
        op.equal(axis, output)


@rule(*named("movedim", "moveaxis"))
def movedim(op: Op) -> None:
    count = len(op.output.axes)
    source, target = (_dims(op.argument(name), count) for name in ("source", "destination"))
    rest = iter(axis for axis in op.given("self").axes if axis.dim not in source)
    placed = dict(zip(target, source, strict=True))
    for output in op.output.axes:
        axis = op.given("self").axes[placed[output.dim]] if output.dim in placed else next(rest)
        op.equal(axis, output)


@rule(*named("expand", "broadcast_to"))
def expand(op: Op) -> None:
    """An axis of one position becomes one of many: slots of their own, which only its readers tie to anything."""
    op.broadcast(op.given("self"))


@rule(*named("repeat", "tile"))
def repeat(op: Op) -> None:
    given, out = op.given("self"), op.output
    for place, whole in enumerate(reversed(out.axes)):
        axis = given.axes[-1 - place] if place < len(given.axes) else None
        if axis is None or axis.size == 1:
            continue
        if axis.size == whole.size:
            op.equal(axis, whole)
        else:
            op.repeated(axis, op.pinned(whole.size // axis.size, "repeats this axis"), whole, each=False)


@rule(*named("repeat_interleave"))
def repeat_interleave(op: Op) -> None:
    values, dim = op.tensors(), op.argument("dim") if "self" in str(op.node.target) else None
    if dim is None or len(values) != 1 or not isinstance(op.argument("repeats"), int):
        op.pin([axis for value in (*values, op.output) for axis in value.axes], "repeats positions by numbers")
        return
    for axis, whole in zip(values[0].axes, op.output.axes, strict=True):
        if axis.dim == dim % len(op.output.axes) and whole.size != axis.size:
            op.repeated(axis, Term(op.argument("repeats")), whole, each=True)
        else:
            op.equal(axis, whole)


@rule(*named("roll", "flip", "rot90", "triu", "tril", "fftshift"))
def reordered(op: Op) -> None:
    """What moves positions along an axis pins it."""
    given, count = op.given("self"), len(op.output.axes)
    dims = _dims(op.argument("dims"), count) if "dims" in argument_names(op.node) else (count - 2, count - 1)
    along(op, given.axes, op.output.axes, set(dims or range(count)), "moves positions along this axis")


@rule(*named("logcumsumexp"), zeros=LOSE)
@rule(*named("diff", "cumsum", "cumprod", "cummax", "cummin", "sort", "topk", "argsort", "kthvalue"))
def ordered(op: Op) -> None:
    """What depends on the order, or number, of positions pins their axis."""
    given, count = op.given("self"), len(op.given("self").axes)
    dim = op.argument("dim") if "dim" in argument_names(op.node) else -1
    dims = {dim % count} if count else set()
    for output in op.outputs:
        if output is not None and len(output.axes) == count:
            along(op, given.axes, output.axes, dims, "orders or counts positions")
        elif output is not None:
            op.pin([axis for axis in given.axes if axis.dim in dims], "orders or counts positions")
            _equal_rest(op, [axis for axis in given.axes if axis.dim not in dims], output.axes)


@rule(*named("unfold"))
def unfold(op: Op) -> None:
    """[..., n, ...] -> [..., windows, ..., size]."""
    given, out = op.given("self"), op.output
    dim = op.argument("dimension") % len(given.axes)
    along(op, given.axes, out.axes[:-1], {dim}, "cuts windows out of this axis")
    op.pin(out.axes[-1], "cuts windows out of this axis")


@rule(*named("diagonal"))
def diagonal(op: Op) -> None:
    given = op.given("self")
    op.pin((*given.axes, *op.output.axes), "takes a diagonal")


def along(op: Op, given: tuple[Axis, ...], made: tuple[Axis, ...], dims: set[int], why: str) -> None:
    """Pin the axes `dims` of both, and state that the others are equal."""
    for one, other in zip(given, made, strict=False):
        if one.dim in dims:
            op.pin((one, other), why)
        else:
            op.equal(one, other)


def _equal_rest(op: Op, given: Sequence[Axis], made: Sequence[Axis]) -> None:
    for one, other in zip(given, made, strict=True):
        op.equal(one, other)


def _dims(given: int | list[int], count: int) -> tuple[int, ...]:
    return tuple(dim % count for dim in (given if isinstance(given, list | tuple) else [given]))
