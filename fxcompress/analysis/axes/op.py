"""What a rule is given: one call, the axes of what it takes and gives, and the links that it may state between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch.fx import Node

from fxcompress.analysis.axes.axis import (
    CAT,
    CONTRACT,
    EQUAL,
    GATHER,
    SLICE,
    VIEW,
    Axis,
    Link,
    Pin,
    Role,
    Value,
)
from fxcompress.analysis.axes.call_axes import CallAxes
from fxcompress.analysis.axes.terms import SUM, Term, find, pin, product, total, units
from fxcompress.analysis.axes.unification import match_products, unify

MOST_GATHERED = 8192


class Op(CallAxes):
    """One call, as a rule sees it.

    A rule states links between axes, and with them how the calls behave when slots are removed. Axes of size 1 take
    part in nothing. Statements that cannot hold, since the sizes differ, pin the axes.

    Attributes:
        links, roles: what the rule has stated.
        within: axes that have the slots of one group, each with the axis that has those of all groups.
    """

    def __init__(
        self,
        node: Node,
        values: Callable[[Any], Value | None],
        outputs: Sequence[Value | None],
        constants: Callable[[Any], torch.Tensor | None] = lambda _: None,
    ) -> None:
        super().__init__(node, values, outputs)
        self.links: list[Link] = []
        self.roles: list[Role] = []
        self.within: list[tuple[Axis, Axis]] = []
        self._constants = constants
        self._refused = Pin("the sizes have no common factors", node)

    def constant(self, name: str) -> torch.Tensor | None:
        """Return the stored tensor given for the argument `name`; None where it is computed."""
        return self._constants(self.argument(name))

    # -- links

    def equal(self, *axes: Axis | None) -> None:
        """State that the slots of all `axes` are the same: one removed here is removed there."""
        some = [axis for axis in axes if axis is not None and axis.size != 1]
        if len(some) > 1:
            self.links.append(Link(EQUAL, self.node, tuple(some)))
            for one in some[1:]:
                unify(one.term, some[0].term, self._refused)

    def broadcast(self, value: Value, target: Value | None = None) -> None:
        """State that `value`, broadcast from the right, has the axes of `target`, by default of the output."""
        target = self.output if target is None else target
        for one, other in zip(reversed(value.axes), reversed(target.axes), strict=False):
            self.equal(one, other)

    def view(self, left: Sequence[Axis | None], right: Sequence[Axis | None]) -> None:
        """State that the axes on the left, major to minor, are a row of positions, and those on the right the same."""
        ones = [axis for axis in left if axis is not None and axis.size != 1]
        others = [axis for axis in right if axis is not None and axis.size != 1]
        if not ones and not others:
            return
        self.links.append(Link(VIEW, self.node, (*ones, *others)))
        if prod(one.size for one in ones) == prod(other.size for other in others):
            match_products([one.term for one in ones], [other.term for other in others], self._refused)
        else:
            self.pin((*ones, *others), "its size does not follow from the others")

    def grouped(self, axis: Axis, groups: Term, inner: Term | Axis) -> None:
        """State that `axis` is `groups` times `inner`: a term, or an axis that has the slots of one group."""
        if isinstance(inner, Axis):
            self.within.append((inner, axis))
            inner = inner.term
        if axis.size != 1:
            self.links.append(Link(VIEW, self.node, (axis,)))
            unify(axis.term, product(groups, inner), self._refused)

    def cat(self, parts: Sequence[Axis | int], whole: Axis) -> None:
        """State that `whole` is the `parts` one behind the other; a number stands for so many slots of their own."""
        terms = [Term(part) if isinstance(part, int) else part.term for part in parts]
        self.links.append(Link(CAT, self.node, (*(part for part in parts if isinstance(part, Axis)), whole)))
        if sum(term.size for term in terms) == whole.size:
            unify(whole.term, total(*self._units_pinned(terms)), self._refused)
        else:
            self.pin((*(part for part in parts if isinstance(part, Axis)), whole), "its size does not follow")

    def slice(self, whole: Axis, part: Axis | None, start: int, size: int) -> None:
        """State that `part` is the `size` positions of `whole` from `start`."""
        middle = Term(size) if part is None or part.size != size else part.term
        row = [Term(start), middle, Term(whole.size - start - size)]
        if whole.value.node.op == "get_attr":
            # Rows of a table that nobody reads here are not neurons.
            for rest in (row[0], row[2]):
                pin(rest, Pin("reads a piece of a stored tensor", self.node, whole))
        self.links.append(Link(SLICE, self.node, (whole,) if part is None else (whole, part)))
        unify(whole.term, total(*self._units_pinned(row)), self._refused)

    def stride(self, whole: Axis, part: Axis, step: int) -> None:
        """State that `part` is every `step`-th position of `whole`, which it goes through to its end."""
        self.links.append(Link(SLICE, self.node, (whole, part)))
        steps = Term(step, pin=Pin(f"takes every {step}th position", self.node, whole))
        unify(whole.term, product(part.term if part.size > 1 else Term(1), steps), self._refused)

    def gather(self, whole: Axis, part: Axis, index: Sequence[int]) -> None:
        """State that position i of `part` is position `index[i]` of `whole`: each a slot of its own from here on."""
        found = units(whole.term) if max(whole.size, part.size) <= MOST_GATHERED else None
        if found is None:
            self.pin((whole, part), "picks positions out of several factors, or very many")
            return
        self.links.append(Link(GATHER, self.node, (whole, part)))
        unify(part.term, Term(len(index), SUM, [found[place] for place in index]), self._refused)

    def repeated(self, axis: Axis, times: Term, whole: Axis, *, each: bool) -> None:
        """State that `whole` is `axis` `times` over: each slot so many times in a row, or the row so many times."""
        self.links.append(Link(VIEW, self.node, (axis, whole)))
        inner = axis.term if axis.size != 1 else Term(1)
        unify(whole.term, product(inner, times) if each else product(times, inner), self._refused)

    def pin(self, axes: Axis | Iterable[Axis | None] | None, why: str) -> None:
        """State that no slot of `axes` may be removed, and why: the text continues "the call ..."."""
        for axis in [axes] if isinstance(axes, Axis) else axes or ():
            if axis is not None and axis.size != 1:
                pin(axis.term, Pin(why, self.node, axis))

    def pinned(self, size: int, why: str) -> Term:
        """Return a new term of `size` of which no slot may be removed."""
        term = Term(size)
        pin(term, Pin(why, self.node))
        return term

    # -- roles

    def contract(self, one: Axis, other: Axis) -> None:
        """State that the call multiplies two axes and adds up: a slot that is zero on either side adds nothing."""
        if one.size == 1 or other.size == 1:
            return
        self.links.append(Link(CONTRACT, self.node, (one, other)))
        self.roles.append(Role(CONTRACT, self.node, (one, other), one.term))
        unify(one.term, other.term, self._refused)

    def contract_groups(self, one: Axis, inner: Axis, groups: Term) -> None:
        """State that `one` is `groups` times `inner`, and that the call contracts the two within each group."""
        self.grouped(one, groups, inner)
        self.links.append(Link(CONTRACT, self.node, (one, inner)))
        if inner.size != 1:
            self.roles.append(Role(CONTRACT, self.node, (inner, one), inner.term))

    def reduce(self, axis: Axis, role: str, term: Term | None = None) -> None:
        """State that the call makes one value of all slots of `axis`, or of the factor `term` of it.

        Args:
            role: SUMMED, AVERAGED, NORMALISED or RMS_NORMALISED.
        """
        if axis.size != 1:
            self.roles.append(Role(role, self.node, (axis,), axis.term if term is None else term))

    def _units_pinned(self, terms: Sequence[Term]) -> Sequence[Term]:
        for term in terms:
            if term.size == 1 and find(term).pin is None:
                pin(term, Pin("handles one position by its number", self.node))
        return terms
