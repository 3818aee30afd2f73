"""Following the slots of one group through the graph, from the weights that compute them to those that read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.fx import Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import CONTRACT, NORMALISED, RMS_NORMALISED, TAPPED, Axis, Value
from fxcompress.analysis.axes.terms import PRODUCT, Term, find, leaves
from fxcompress.graph.nodes import is_call
from fxcompress.graph.tensors import attribute
from fxcompress.pruning.merging.signatures import UNIFORM, Block, Signature, alike, rows_of
from fxcompress.pruning.merging.slotwise import PRODUCTS, Given, draws, keeps_stored, operands, signature_of

aten = torch.ops.aten
_FILLS = (aten.zeros, aten.ones, aten.full, aten.new_zeros, aten.new_ones, aten.new_full, aten.expand, aten.expand_as)
_VERBS = {NORMALISED: "normalises over", RMS_NORMALISED: "normalises over", TAPPED: "returns"}


@dataclass(frozen=True)
class Use:
    """A stored weight that contracts the slots: its axis that has them, and what it is given."""

    path: str
    axis: Axis
    given: Signature


def touching(axes: Axes) -> dict[int, list[Node]]:
    """Return for every leaf, by its id, the calls that take or give a tensor with it, in the order of the graph."""
    carried: dict[int, set[int]] = {}
    found: dict[int, list[Node]] = {}
    for node in axes.roles:
        some: set[int] = set()
        for value in (*_inputs(axes, node), *axes.values.get(node, ())):
            if value is not None:
                if id(value) not in carried:
                    carried[id(value)] = {id(one) for axis in value.axes if axis.size > 1 for one in leaves(axis.term)}
                some |= carried[id(value)]
        for leaf in some:
            found.setdefault(leaf, []).append(node)
    return found


def _inputs(axes: Axes, node: Node) -> list[Value]:
    return [value for value in map(axes.value, node.all_input_nodes) if value is not None]


def follow(axes: Axes, leaf: Term, nodes: Iterable[Node]) -> list[Use] | str:
    """Return the weights that read the slots of `leaf`, or why slots cannot take each other's place.

    Args:
        nodes: the calls that take or give a tensor with the leaf, in the order of the graph.
    """
    walk = _Walk(axes, leaf)
    for node in nodes:
        if (why := walk.call(node)) is not None:
            return why
    both = {use.path for use in walk.uses} & walk.read
    if both:
        return f"{min(both)} both reads and computes them"
    return walk.uses if walk.uses else "no weight reads them"


class _Walk(Given):
    """One group's slots on their way; `uses` are the weights that contract them, `read` the tensors that make them."""

    def __init__(self, axes: Axes, leaf: Term) -> None:
        self.axes, self.leaf = axes, leaf
        self.signatures: dict[int, Signature] = {}
        self.uses: list[Use] = []
        self.read: set[str] = set()

    # -- what a call is given

    def axis(self, value: Value) -> Axis | None:
        """Return the axis of a tensor that has the slots, the first of several."""
        return next((axis for axis in value.axes if axis.size > 1 and self._in(axis.term)), None)

    def carried(self, node: object) -> Value | None:
        """Return the tensor that a node gives if it has the slots."""
        value = self.axes.value(node)
        return value if value is not None and self.axis(value) is not None else None

    def of(self, node: object) -> Signature:
        """Return the signature of what a node gives; what does not have the slots is the same for all of them."""
        value = self.carried(node)
        if value is None:
            return UNIFORM
        if id(value) not in self.signatures:
            self.signatures[id(value)] = self._stored(value)
        return self.signatures[id(value)]

    def rows(self, path: str, axis: Axis) -> torch.Tensor:
        return rows_of(self.axes.module, path, axis, self.leaf)

    def _stored(self, value: Value) -> Signature:
        path, axis = str(value.node.target), self.axis(value)
        assert axis is not None
        block = Block(lambda: self.rows(path, axis))
        if attribute(self.axes.module, path).is_floating_point():
            return Signature((block,), (), stored=path)
        return Signature((), (block,), stored=path)

    def _in(self, term: Term) -> bool:
        return any(one is self.leaf for one in leaves(term))

    # -- one call

    def call(self, node: Node) -> str | None:
        """Note what `node` does with the slots, or return why it keeps them apart."""
        made = [one for one in self.axes.values.get(node, ()) if one is not None and self.axis(one) is not None]
        why = self._role(node) or self._twice([*(self.axes.value(one) for one in node.all_input_nodes), *made])
        if why is not None:
            return why
        if any(role.kind == CONTRACT and self._in(role.term) for role in self.axes.roles[node]):
            return self._contract(node, made)
        if made and draws(node):
            return f"%{node.name} draws random numbers"
        inputs = [one for one in node.all_input_nodes if self.carried(one) is not None]
        if made and not inputs and not is_call(node, *_FILLS):
            return f"%{node.name} makes them by their number"
        if made:
            self._give(node, inputs, made)
        else:
            self.read |= self._paths(inputs)
        return None

    def _give(self, node: Node, inputs: list[Node], made: list[Value]) -> None:
        found = signature_of(self, node) if inputs else UNIFORM
        if not keeps_stored(node):
            self.read |= self._paths(inputs)
        for value in made:
            # Places, as max pooling gives them, are the same for a multiple.
            self.signatures[id(value)] = found if value.dtype.is_floating_point else alike([found])

    def _paths(self, nodes: Iterable[Node]) -> set[str]:
        return {path for path in (self.of(node).stored for node in nodes) if path is not None}

    def _role(self, node: Node) -> str | None:
        for role in self.axes.roles[node]:
            if role.kind != CONTRACT and self._in(role.term):
                return f"%{node.name} {_VERBS.get(role.kind, 'adds up over')} them"
        return None

    def _twice(self, values: Iterable[Value | None]) -> str | None:
        """Say where a tensor has the slots on two axes, or crosses them with themselves in one."""
        for value in values:
            places = [axis for axis in value.axes if axis.size > 1 and self._in(axis.term)] if value is not None else []
            if len(places) > 1 or (places and _crossed(places[0].term, self.leaf)):
                return f"{value} has them on two axes"
        return None

    def _contract(self, node: Node, made: list[Value]) -> str | None:
        """Note the weight of a call that contracts the slots."""
        if made or not is_call(node, *PRODUCTS):
            return f"%{node.name} multiplies over them, and is no layer that a merged weight makes good for"
        pair = [one for one in operands(node) if self.carried(one) is not None]
        stored = [one for one in pair if self.of(one).stored is not None]
        if len(pair) != 2 or len(stored) != 1:
            return f"%{node.name} multiplies two computed tensors over them"
        path = self.of(stored[0]).stored
        assert path is not None
        axis = self.axis(self.axes.stored[path])
        assert axis is not None
        (other,) = (one for one in pair if one is not stored[0])
        self.uses.append(Use(path, axis, self.of(other)))
        return None


def _crossed(term: Term, leaf: Term) -> bool:
    """Whether two factors of a product have the slots."""
    having = [part for part in map(find, find(term).parts) if any(one is leaf for one in leaves(part))]
    if find(term).kind == PRODUCT and len(having) > 1:
        return True
    return any(_crossed(part, leaf) for part in having)


def blocks_of(uses: Iterable[Use]) -> tuple[list[torch.Tensor], list[torch.Tensor], Mapping[str, bool]]:
    """Return what has to be parallel, and what has to be the same, for slots to be merged.

    Returns:
        the blocks that may be scaled, those that are equal, and for each weight whether its input is scaled.
    """
    scaled: dict[str, bool] = {}
    for use in uses:
        scaled[use.path] = bool(use.given.scaled) and scaled.get(use.path, True)
    loose = {id(b): b for use in uses if scaled[use.path] for b in use.given.scaled}
    strict = {id(b): b for use in uses for b in (*use.given.equal, *(() if scaled[use.path] else use.given.scaled))}
    return [block.rows for block in loose.values()], [block.rows for block in strict.values()], scaled
