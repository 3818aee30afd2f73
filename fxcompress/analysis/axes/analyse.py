"""The axes of a graph: every axis of every value as a term, stated by the rules of the calls."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.axis import CONTRACT, TAPPED, Axis, Link, Pin, Role, Value
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules import POINTWISE, TABLE, Rule
from fxcompress.analysis.axes.rules.pointwise import pointwise
from fxcompress.analysis.axes.sizes import Sizes, is_dynamic
from fxcompress.analysis.axes.terms import leaves, pin
from fxcompress.graph.tensors import attribute, tensor_of

_POINTWISE = Rule(pointwise, POINTWISE)


@dataclass
class Axes:
    """What the rules state of a graph.

    Attributes:
        values: of every node the tensors that it gives, None for an output that is no tensor. Nodes that read one
            stored tensor share its value.
        stored: the value of every stored tensor under the first name that a node reads it by.
        links: what the rules stated, in the order of the graph.
        roles: what each call contracts and reduces.
        zeros: what each call does to slots that are zero.
        within: by the id of an axis that has the slots of one group, as that of a grouped convolution's weight has, the
            axes that have those of all groups, one for every call that reads it.
        unknown: calls that no rule describes, by operator; their axes are pinned.
    """

    module: GraphModule
    values: dict[Node, tuple[Value | None, ...]] = field(default_factory=dict)
    stored: dict[str, Value] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    roles: dict[Node, list[Role]] = field(default_factory=dict)
    zeros: dict[Node, str] = field(default_factory=dict)
    within: dict[int, list[Axis]] = field(default_factory=dict)
    unknown: dict[str, list[Node]] = field(default_factory=dict)

    def value(self, node: Any) -> Value | None:
        """Return the tensor that a node gives, None where it gives none or several."""
        found = self.values.get(node, ())
        return found[0] if len(found) == 1 else None

    @functools.cached_property
    def contracted(self) -> set[int]:
        """The ids of the axes that some call contracts."""
        roles = (role for row in self.roles.values() for role in row if role.kind == CONTRACT)
        return {id(axis) for role in roles for axis in role.axes}

    @functools.cached_property
    def readers(self) -> dict[int, list[tuple[Node, Node]]]:
        """By the id of a stored value the calls that read it, with the node that they read it through."""
        found: dict[int, list[tuple[Node, Node]]] = {}
        for node, row in self.values.items():
            if node.op == "get_attr" and row[0] is not None:
                found.setdefault(id(row[0]), []).extend((user, node) for user in node.users)
        return found

    def axes(self) -> list[Axis]:
        """Return every axis of every value once."""
        seen = {id(value): value for row in self.values.values() for value in row if value is not None}
        return [axis for value in seen.values() for axis in value.axes]


def analyse(module: GraphModule, rules: Mapping[Any, Rule] | None = None) -> Axes:
    """Return the axes of a captured module, whose nodes carry their types in `meta["val"]`.

    Linear in nodes and axes. Nothing is run, and of the stored tensors only constant indices are read.

    Args:
        rules: further rules, which come before the built-in ones.
    """
    axes, sizes = Axes(module), Sizes()
    known: dict[int, Value] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            axes.values[node] = (_stored(axes, known, node, sizes),)
        elif node.target is operator.getitem and node.args[0] in axes.values:
            axes.values[node] = _item(axes, node)
        elif node.op == "output":
            _results(axes, node)
        else:
            axes.values[node] = _values(node, sizes)
            if node.op == "placeholder":
                _pin_all(axes.values[node], node, "is an input of the model")
            else:
                _state(axes, node, rules or {})
    for axis in axes.axes():
        if is_dynamic(axis.size):
            _pin_dynamic(axis)
    return axes


def _stored(axes: Axes, known: dict[int, Value], node: Node, sizes: Sizes) -> Value | None:
    held = attribute(axes.module, str(node.target))
    if not isinstance(held, torch.Tensor):
        return None
    if id(held) not in known:
        known[id(held)] = axes.stored[str(node.target)] = Value(node, 0, map(sizes.of, held.shape))
    return known[id(held)]


def _item(axes: Axes, node: Node) -> tuple[Value | None, ...]:
    source, index = node.args
    row = axes.values[source]  # type: ignore[index]
    return (row[index],) if isinstance(index, int) and -len(row) <= index < len(row) else (None,)


def _values(node: Node, sizes: Sizes) -> tuple[Value | None, ...]:
    given = node.meta.get("val")
    row = given if isinstance(given, list | tuple) else [given]
    return tuple(
        Value(node, index, map(sizes.of, one.shape)) if isinstance(one, torch.Tensor) else None
        for index, one in enumerate(row)
    )


def _pin_all(values: Iterable[Value | None], node: Node, why: str) -> None:
    for axis in (axis for value in values if value is not None for axis in value.axes):
        if axis.size != 1:
            pin(axis.term, Pin(why, node, axis))


def _results(axes: Axes, node: Node) -> None:
    """Pin what the model returns. What it also goes on with is tapped: removed slots are returned as zeros."""
    axes.roles[node] = []
    for source in node.all_input_nodes:
        values = axes.values.get(source, ())
        if source.op == "call_function" and len(source.users) > 1:
            for axis in (axis for value in values if value is not None for axis in value.axes if axis.size > 1):
                if is_dynamic(axis.size):
                    pin(axis.term, Pin("is a result of the model", node, axis))
                axes.roles[node].append(Role(TAPPED, node, (axis,), axis.term))
        else:
            _pin_all(values, node, "is a result of the model")


def _state(axes: Axes, node: Node, rules: Mapping[Any, Rule]) -> None:
    op = Op(node, axes.value, axes.values[node], lambda source: tensor_of(axes.module, source))
    if node.target is torch.ops.aten.sym_size.int or not (op.tensors() or any(op.outputs)):
        return
    found = rule_of(node, rules)
    if found is None:
        axes.unknown.setdefault(str(node.target), []).append(node)
        touched = [*op.tensors(), *(value for value in op.outputs if value is not None)]
        touched += [value for one in node.all_input_nodes for value in axes.values.get(one, ()) if value is not None]
        op.pin([axis for value in touched for axis in value.axes], "is an operator that no rule describes")
    else:
        axes.zeros[node] = found.zeros
        found.state(op)
    for inner, whole in op.within:
        axes.within.setdefault(id(inner), []).append(whole)
    axes.links += op.links
    axes.roles[node] = op.roles


def rule_of(node: Node, rules: Mapping[Any, Rule]) -> Rule | None:
    """Return the rule of a call: one of `rules`, of the table, or that of pointwise calls; None where there is none."""
    packet = getattr(node.target, "overloadpacket", None)
    name = node.target._schema.name if isinstance(node.target, torch._ops.OpOverload) else None
    for table in (rules, TABLE):
        for target in (node.target, packet, name):
            if target in table:
                return table[target]
    return _POINTWISE if torch.Tag.pointwise in getattr(node.target, "tags", ()) else None


def _pin_dynamic(axis: Axis) -> None:
    """Pin the leaves of dynamic size that `axis` is made of."""
    for one in leaves(axis.term):
        if is_dynamic(one.size):
            pin(one, Pin("has a dynamic size", axis.value.node, axis))
