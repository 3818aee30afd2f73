"""Why an axis keeps its slots: the shortest way through the links to the place that pins it; and what a free one is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import networkx as nx
from tabulate import tabulate
from torch.fx import Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import CAT, CONTRACT, EQUAL, GATHER, SLICE, VIEW, Axis, Link, Pin
from fxcompress.analysis.axes.groups import Group, groups_of
from fxcompress.analysis.axes.naming import axes_named, axis_name, called, factors_text, said
from fxcompress.analysis.axes.sizes import is_dynamic
from fxcompress.analysis.axes.terms import Term, find, leaves
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.graph.nodes import scope
from fxcompress.text import listing, plural

# How a step reads, by the kind of the link.
HOW = {
    EQUAL: "same slots",
    VIEW: "reshaped",
    CAT: "joined",
    SLICE: "a piece",
    GATHER: "looked up",
    CONTRACT: "multiplied and added up",
}
LONGEST = 16
SHOWN = 6
_END = "end"


@dataclass(frozen=True)
class Step:
    """One step of a way through the links.

    Attributes:
        axis: the axis that the step leads to.
        node: the call that ties it to the axis before.
        call: the operator of that call.
        how: what the call does with the slots of the two.
        module: the path of the module that the call was captured in.
    """

    axis: str
    node: str
    call: str
    how: str
    module: str


@dataclass(frozen=True)
class Slots:
    """What is known of the slots of an axis, or of one factor or piece of it.

    Attributes:
        axis: the axis that was asked for, with the number of the factor or piece where it has several.
        group: the name of the group that the slots are, None where no stored tensor carries them.
        size: how many there are, None for a dynamic size.
        pinned: why they stay; None where they may go.
        steps: how the axis is tied to the place that pins it; empty where that is the axis itself.
        carriers: the axes of stored tensors that lose slots with this one.
        inexact: where slots would be missed even if they were zero; None where removing them is exact.
    """

    axis: str
    group: str | None
    size: int | None
    pinned: str | None
    steps: tuple[Step, ...] = ()
    carriers: tuple[str, ...] = ()
    inexact: str | None = None

    def __str__(self) -> str:
        count = "a dynamic number of slots" if self.size is None else plural(self.size, "slot")
        if self.pinned is not None:
            return "\n".join((f"{self.axis}: {count}, pinned: {self.pinned}", *_way(self.axis, self.steps)))
        lines = [f"{self.axis}: {count}, free: group {self.group}", f"  carriers  {listing(self.carriers, SHOWN)}"]
        if self.group is None:
            lines = [f"{self.axis}: {count}, free, and in no stored tensor"]
        return "\n".join((*lines, f"  exact     {'yes' if self.inexact is None else f'no: {self.inexact}'}"))


@dataclass(frozen=True)
class Why:
    """The answer to a query: one entry for each dim, or for each factor or piece of it.

    Attributes:
        slots: the entries.
        made_of: of every dim that is no single row of slots its factors and pieces: `.0 * .1 + .0 * .2`.
    """

    query: str
    slots: tuple[Slots, ...]
    made_of: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{axis} is {text}" for axis, text in self.made_of.items()]
        return "\n".join((*lines, *map(str, self.slots))) or f"{self.query}: a single number, which has no axes"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def _way(axis: str, steps: tuple[Step, ...]) -> Iterator[str]:
    """Yield a line for each axis on the way, with the call that ties it to the one above; of many some."""
    if not steps:
        return
    rows = [(axis, "", "", ""), *((step.axis, f"%{step.node}", step.how, step.module) for step in steps)]
    if len(rows) > LONGEST:
        rest = len(rows) - LONGEST
        rows[LONGEST // 2 : -LONGEST // 2] = [(f"... {plural(rest, 'more step')}, see to_dict() or --json", "", "", "")]
    yield from (f"  {line}".rstrip() for line in tabulate(rows, tablefmt="plain", disable_numparse=True).split("\n"))


def why(axes: Axes, query: str) -> Why:
    """Return why the slots of a tensor stay, or what goes with them.

    Args:
        axes: the axes of a module.
        query: `PATH` of a stored tensor, `PATH:DIM` for one of its dims; `%NODE` and `%NODE:DIM` for what a call gives.

    Raises:
        UsageError: there is no such tensor or dim.
    """
    groups = {id(group.leaf): group for group in groups_of(axes)}
    missed = inexact(axes)
    found, made_of = [], {}
    for axis in axes_named(axes, query):
        several = leaves(axis.term)
        if find(axis.term).parts:
            made_of[axis_name(axis)] = factors_text(axis.term, {id(one): place for place, one in enumerate(several)})
        for place, leaf in enumerate(several):
            own = axis_name(axis) if len(several) == 1 else f"{axis_name(axis)}.{place}"
            found.append(_slots(axes, own, axis, leaf, groups.get(id(leaf)), missed.get(id(leaf))))
    return Why(query, tuple(found), made_of)


def _slots(axes: Axes, own: str, axis: Axis, leaf: Term, group: Group | None, missed: Pin | None) -> Slots:
    name = None if group is None else group.name
    if leaf.pin is not None:
        size = None if is_dynamic(leaf.size) else leaf.size
        return Slots(own, name, size, said(leaf.pin), tuple(_steps(axes, axis, leaf)))
    if leaf.size == 1:
        return Slots(own, name, 1, "it is the only one")
    carriers = () if group is None else tuple(map(str, group.carriers))
    return Slots(own, name, leaf.size, None, (), carriers, None if missed is None else said(missed))


def _steps(axes: Axes, start: Axis, leaf: Term) -> Iterator[Step]:
    """Yield the steps from `start` to where the pin of `leaf` was stated; none where the pin does not say where."""
    graph = link_graph(axes, leaf)
    ends = _ends(axes, leaf)
    if start in ends or start not in graph or not ends & set(graph):
        return
    graph.add_edges_from((end, _END) for end in ends & set(graph))
    way = nx.shortest_path(graph, start, _END)
    for hub, axis in zip(way[1:-1:2], way[2:-1:2], strict=True):
        node, kind = hub[:2]
        yield Step(axis_name(axis), node.name, called(node), HOW[kind], scope(node))


def _ends(axes: Axes, leaf: Term) -> set[Axis]:
    """Return the axis that the pin is said of; where it is said of none, all with the slots that its call ties."""
    if not isinstance(leaf.pin, Pin):
        return set()
    if leaf.pin.axis is not None:
        return {leaf.pin.axis}
    return {axis for link in axes.links if link.node is leaf.pin.node for axis in link.axes if _carries(axis, leaf)}


def _carries(axis: Axis, leaf: Term) -> bool:
    return any(one is leaf for one in leaves(axis.term))


def link_graph(axes: Axes, leaf: Term) -> nx.Graph[Any]:
    """Return the graph of the axes that `leaf` is in, joined to hubs `(call, kind of link, ...)` that tie them."""
    graph: nx.Graph[Any] = nx.Graph()
    for number, link in enumerate(axes.links):
        some = [axis for axis in link.axes if _carries(axis, leaf)]
        for hub, tied in _hubs(number, link, some):
            graph.add_edges_from((axis, hub) for axis in tied)
    for node, tied in _factored(axes, leaf).items():
        graph.add_edges_from((axis, (node, VIEW)) for axis in tied)
    return graph


def _hubs(number: int, link: Link, some: list[Axis]) -> Iterator[tuple[tuple[Any, ...], list[Axis]]]:
    """Yield what a link ties together: all of its axes, but of a concatenation each part with the whole only."""
    whole = link.axes[-1]
    if link.kind != CAT:
        yield (link.node, link.kind, number), some
    elif any(axis is whole for axis in some):
        for place, part in enumerate(some[:-1]):
            yield (link.node, CAT, number, place), [part, whole]


def _factored(axes: Axes, leaf: Term) -> dict[Node, list[Axis]]:
    """Return, for calls that state the factors of one axis at a time, the axes with `leaf` that share them."""
    calls = {link.node for link in axes.links if link.kind == VIEW and len(link.axes) == 1}
    found: dict[Node, list[Axis]] = {}
    for link in axes.links:
        if link.node in calls and link.kind in (VIEW, CONTRACT):
            found.setdefault(link.node, []).extend(axis for axis in link.axes if _carries(axis, leaf))
    return found
