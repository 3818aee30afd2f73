"""Exactness: where slots that are zero in every parameter stay without effect on what the model gives.

Pruning slots is the same as setting them to zero in all their carriers wherever each call that adds up over them adds
nothing: one side of a contraction is zero there and the other finite, what is summed is zero there. So the state of
the removed slots is followed through the graph, leaf by leaf: zero, some finite number, or perhaps infinite.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import CONTRACT, NORMALISED, TAPPED, Axis, Pin, Role, Value
from fxcompress.analysis.axes.call_axes import CallAxes
from fxcompress.analysis.axes.rules import AFFINE, KEEP, POINTWISE, PRODUCT
from fxcompress.analysis.axes.terms import Term, leaves
from fxcompress.graph.nodes import argument, is_call

ZERO, FINITE, UNSAFE = 0, 1, 2
States = dict[int, int]
# Arguments that say where, or in which form, values of another go: no value of their own comes out.
PLACES = ("indices", "index", "grid", "random_samples", "other")


def inexact(axes: Axes, not_zero: Container[int] = ()) -> dict[int, Pin]:
    """Return the leaves whose slots have an effect even where they are zero in every carrier, and where that is.

    Leaves are given by their id. What pruning makes good by rewriting (means, root mean squares) counts as exact.

    Args:
        not_zero: ids of axes of stored tensors in which removed slots are not set to zero.
    """
    following = _Following(axes, not_zero)
    return following.found


class _Following:
    """One walk through a graph; `found` says where a removed slot would be missed."""

    def __init__(self, axes: Axes, not_zero: Container[int]) -> None:
        self.axes, self.not_zero = axes, not_zero
        self.found: dict[int, Pin] = {}
        self.states: dict[int, States] = {}
        self.free: dict[int, list[Term]] = {}
        for node, row in axes.values.items():
            if node.op == "get_attr" and row[0] is not None:
                self.states[id(row[0])] = {id(one): ZERO for one in self._free(row[0])}
            elif node in axes.zeros:
                self._call(node, [value for value in row if value is not None], axes.roles[node])
        for role in (role for roles in axes.roles.values() for role in roles if role.kind == TAPPED):
            self._check(role)

    def _free(self, value: Value) -> list[Term]:
        """Return the leaves of a value that are not pinned."""
        if id(value) not in self.free:
            some = {id(one): one for axis in value.axes if axis.size > 1 for one in leaves(axis.term)}
            self.free[id(value)] = [one for one in some.values() if one.pin is None]
        return self.free[id(value)]

    def _state(self, value: Value, leaf: int) -> int:
        return self.states.get(id(value), {}).get(leaf, FINITE)

    def _state_of(self, axis: Axis, leaf: int) -> int:
        return FINITE if id(axis) in self.not_zero else self._state(axis.value, leaf)

    def _call(self, node: Node, made: list[Value], roles: list[Role]) -> None:
        for role in roles:
            self._check(role)
        contracted = {id(axis) for role in roles if role.kind == CONTRACT for axis in role.axes}
        carried = {id(one): self._carried(one, contracted) for one in self._around(node).tensors()}
        for value in made:
            states: States = {}
            for one in self._free(value):
                states[id(one)] = self._after(node, value, id(one), carried)
            self.states[id(value)] = states

    def _around(self, node: Node) -> CallAxes:
        return CallAxes(node, self.axes.value, self.axes.values[node])

    def _carried(self, value: Value, contracted: set[int]) -> set[int]:
        """Return the leaves of a value in axes that the call hands on."""
        kept = [axis for axis in value.axes if axis.size > 1 and id(axis) not in contracted]
        kept = [axis for axis in kept if id(axis) not in self.not_zero]
        return {id(one) for axis in kept for one in leaves(axis.term) if one.pin is None}

    def _check(self, role: Role) -> None:
        """Note the leaves for which what the call adds up is not zero."""
        for one in leaves(role.term):
            if one.pin is not None or id(one) in self.found:
                continue
            states = [self._state_of(axis, id(one)) for axis in role.axes]
            why = None
            if role.kind == NORMALISED:
                why = "normalises over it"
            elif UNSAFE in states:
                why = "adds up what may be infinite where a slot is zero"
            elif ZERO not in states:
                what = "returns" if role.kind == TAPPED else "adds up"
                why = f"{what} what is not zero where a slot is zero"
            if why is not None:
                self.found[id(one)] = Pin(why, role.node, role.axes[0])

    def _after(self, node: Node, made: Value, leaf: int, carried: dict[int, set[int]]) -> int:
        """Return the state of a leaf's removed slots in what a call gives."""
        around = self._around(node)
        inputs = around.tensors()
        given = [self._state(value, leaf) if leaf in carried[id(value)] else None for value in inputs]
        zeros = self.axes.zeros[node]
        if zeros == POINTWISE:
            return _pointwise(node, tuple(given), tuple(value.dtype for value in inputs))
        if UNSAFE in given:
            return UNSAFE
        places = around.named(*PLACES)
        some = [state for value, state in zip(inputs, given, strict=True) if state is not None and value not in places]
        if zeros == KEEP and not _counts(made, inputs) and not _pads_with_more(node):
            return ZERO if some and set(some) == {ZERO} else FINITE
        if zeros == PRODUCT:
            return _product(around, dict(zip(inputs, given, strict=True)))
        if zeros == AFFINE:
            return _affine(around, dict(zip(inputs, given, strict=True)))
        return FINITE


def _product(call: CallAxes, given: dict[Value, int | None]) -> int:
    """Zero where a factor is, if what is added (a bias) is zero too."""
    added = call.named("bias", "attn_mask")
    if str(call.node.target).startswith(("aten.addmm", "aten.baddbmm", "aten.addbmm", "aten.addmv")):
        added += call.named("self")
    if "attention" in str(call.node.target):
        # A mask goes to the scores, which are normalised: what is zero in the values stays zero.
        given = {value: state for value, state in given.items() if value in call.named("value")}
        return ZERO if ZERO in given.values() else FINITE
    factors = [state for value, state in given.items() if value not in added]
    return ZERO if ZERO in factors and all(given[value] == ZERO for value in added) else FINITE


def _affine(call: CallAxes, given: dict[Value, int | None]) -> int:
    """A norm layer: zero where its shift is, and its scale or what it centres."""
    scale = [given[value] for value in call.named("weight")]
    centred = [given[value] for value in call.named("input", "running_mean")]
    if any(given[value] != ZERO for value in call.named("bias")):
        return FINITE
    return ZERO if ZERO in scale or set(centred) == {ZERO} else FINITE


def _counts(made: Value, inputs: list[Value]) -> bool:
    """Whether a call gives numbers of positions, as a pool does beside what it takes from there."""
    return not made.dtype.is_floating_point and any(value.dtype.is_floating_point for value in inputs)


def _pads_with_more(node: Node) -> bool:
    """Whether a call puts something else than zeros around what it takes."""
    return is_call(node, torch.ops.aten.constant_pad_nd, torch.ops.aten.pad) and bool(argument(node, "value"))


def _pointwise(node: Node, given: tuple[int | None, ...], kinds: tuple[torch.dtype, ...]) -> int:
    """Ask a pointwise operator what it makes of zeros; a value that does not carry the leaf may be anything finite."""
    if UNSAFE in given:
        return UNSAFE
    places = {one: place for place, one in enumerate(_tensor_nodes(node))}
    args = _frozen(map_arg(node.args, lambda one: _Hole(places[one]) if one in places else 2))
    kwargs = _frozen(map_arg(dict(node.kwargs), lambda one: _Hole(places[one]) if one in places else 2))
    try:
        return _probe(node.target, args, kwargs, given, kinds)
    except TypeError:  # an argument that cannot be hashed
        return FINITE


def _tensor_nodes(node: Node) -> Iterator[Node]:
    return (one for one in node.all_input_nodes if isinstance(one.meta.get("val"), torch.Tensor))


class _Hole(tuple[int]):
    """The place of a tensor among the arguments."""

    def __new__(cls, place: int) -> _Hole:
        return super().__new__(cls, (place,))


def _frozen(value: Any) -> Any:
    if isinstance(value, _Hole):
        return value
    if isinstance(value, dict):
        return tuple((key, _frozen(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(one) for one in value)
    return value


@functools.cache
def _probe(target: Any, args: Any, kwargs: Any, given: tuple[int | None, ...], kinds: tuple[torch.dtype, ...]) -> int:
    generator = torch.Generator().manual_seed(0)
    tensors = [_sample(kind, state == ZERO, generator) for state, kind in zip(given, kinds, strict=True)]

    def filled(value: Any) -> Any:
        if isinstance(value, _Hole):
            return tensors[value[0]]
        return [filled(one) for one in value] if isinstance(value, tuple) else value

    try:
        result = target(*map(filled, args), **{key: filled(one) for key, one in kwargs})
    except (RuntimeError, TypeError, ValueError):
        return FINITE
    result = result[0] if isinstance(result, list | tuple) else result
    if not bool(result.any()):
        return ZERO
    if ZERO in given and not bool(result.isfinite().all()) and FINITE not in given:
        return UNSAFE
    return FINITE


def _sample(kind: torch.dtype, zero: bool, generator: torch.Generator) -> torch.Tensor:
    """Return eight numbers of `kind`: zeros, or others of either sign."""
    if zero:
        return torch.zeros(8, dtype=kind)
    if kind == torch.bool:
        return torch.tensor([True, False] * 4)
    numbers = torch.randn(8, generator=generator) * 2
    whole = torch.tensor([1, 2, 3, -1, -2, -3, 4, 5])
    return (numbers if kind.is_floating_point or kind.is_complex else whole).to(kind)
