"""The groups of a graph as a table: what can lose slots, and what keeps them, the like in one row."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any, TypeVar

from tabulate import tabulate

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import Pin
from fxcompress.analysis.axes.groups import Group, Left, groups_of
from fxcompress.analysis.axes.naming import reason, said
from fxcompress.analysis.axes.sizes import is_dynamic
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.text import listing, plural

ROWS = 40
EXAMPLES = 2
MOST_NUMBERS = 4
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class GroupRow:
    """One group.

    Attributes:
        name: its first carrier, `layer1.0.conv1.weight:0`.
        slots: how many it has, None for a dynamic size.
        carriers: the axes of stored tensors that carry the slots.
        elements: how many elements of stored tensors go with one slot; 0 where slots stay.
        pinned: why slots stay, None where they may go.
        pinned_by: that with the call, and the axis where it matters.
        inexact: why a slot would be missed even if it were zero; None where removing it is exact.
        inexact_by: that with the call.
    """

    name: str
    slots: int | None
    carriers: tuple[str, ...]
    elements: int = 0
    pinned: str | None = None
    pinned_by: str | None = None
    inexact: str | None = None
    inexact_by: str | None = None


@dataclass(frozen=True)
class GroupTable:
    """The groups of a graph, in its order, and the operators that no rule describes.

    Attributes:
        groups: all of them, pinned ones among them.
        unknown: the names of the calls of every such operator.
    """

    groups: tuple[GroupRow, ...]
    unknown: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def free(self) -> tuple[GroupRow, ...]:
        """The groups that may lose slots."""
        return tuple(row for row in self.groups if row.pinned is None)

    @property
    def pinned(self) -> tuple[GroupRow, ...]:
        """The groups that may not."""
        return tuple(row for row in self.groups if row.pinned is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, every group by itself."""
        return asdict(self)

    def __str__(self) -> str:
        return self.text()

    def text(self, most: int = ROWS) -> str:
        """Return the table: of groups alike but for numbers in their paths one row, and `most` rows."""
        unknown = "\n".join(map(_unknown_text, self.unknown.items()))
        parts = [self._free_text(most), self._pinned_text(), unknown]
        return "\n\n".join(part for part in parts if part)

    def _free_text(self, most: int) -> str:
        if not self.free:
            return "no group can lose slots"
        alike = list(_together(self.free, _likeness).values())
        rows = [_free_cells(row) for row in alike[:most]]
        heads = ("can lose slots", "times", "slots", "carriers", "elements", "exact")
        align = ("left", "right", "right", "right", "right", "left")
        lines = [tabulate(rows, headers=heads, tablefmt="simple", intfmt=",", colalign=align)]
        if len(alike) > most:
            rest = sum(map(len, alike[most:]))
            lines.append(f"... and {plural(rest, 'group')} more; --json or to_dict() has all {len(self.free):,}")
        return "\n".join(lines)

    def _pinned_text(self) -> str:
        alike = _together(self.pinned, lambda row: row.pinned)
        rows = [(why, len(same), _examples(same)) for why, same in alike.items()]
        heads = ("pinned", "axes", "")
        return tabulate(rows, headers=heads, tablefmt="simple", intfmt=",") if rows else ""


def group_table(axes: Axes) -> GroupTable:
    """Return the groups of a graph, whether they can lose slots, and whether that is exact."""
    missed = inexact(axes)
    rows = (_row(axes, group, missed.get(id(group.leaf))) for group in groups_of(axes))
    unknown = {target: tuple(f"%{node.name}" for node in nodes) for target, nodes in axes.unknown.items()}
    return GroupTable(tuple(rows), unknown)


def _row(axes: Axes, group: Group, missed: Pin | None) -> GroupRow:
    carriers = tuple(map(str, group.carriers))
    slots = None if is_dynamic(group.size) else group.size
    pin = group.leaf.pin
    if pin is not None:
        return GroupRow(group.name, slots, carriers, 0, reason(pin), said(pin))
    if not group.free:
        return GroupRow(group.name, slots, carriers, 0, "has one slot", "has one slot")
    whys = (None, None) if missed is None else (reason(missed), said(missed))
    return GroupRow(group.name, slots, carriers, _elements(axes, group), None, None, *whys)


def _elements(axes: Axes, group: Group) -> int:
    """Return how many elements of stored tensors go with one slot."""
    left = Left({id(group.leaf): group.size - 1})
    stored = [axes.stored[path].axes for path in dict.fromkeys(carrier.path for carrier in group.carriers)]
    return sum(prod(axis.size for axis in row) - prod(left.size(axis.term) for axis in row) for row in stored)


def _together(rows: Iterable[Thing], key: Callable[[Thing], Hashable]) -> dict[Any, list[Thing]]:
    found: dict[Any, list[Thing]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _likeness(row: GroupRow) -> Hashable:
    return _numberless(row.name), row.slots, row.inexact


def _numberless(name: str) -> str:
    """Return a name without the numbers in its path; those of the innermost module, and of dims, stay."""
    path, colon, place = name.partition(":")
    *outer, module, tensor = ["", "", *path.split(".")]
    return ".".join((*(re.sub(r"\d+", "*", word) for word in outer), module, tensor)) + colon + place


def common(names: Sequence[str]) -> str:
    """Return names that differ in numbers as one, with those numbers: `layers.{0-5}.mlp.0.weight:0`."""
    rows = [re.split(r"(\d+)", name) for name in names]
    return "".join(column[0] if len(set(column)) == 1 else _numbers(column) for column in zip(*rows, strict=True))


def _numbers(column: Iterable[str]) -> str:
    """Return `{0-5}` for numbers without a gap, `{0,2}` for few others, `*` for many."""
    known = sorted({int(number) for number in column})
    if len(known) > 2 and known == list(range(known[0], known[-1] + 1)):
        return f"{{{known[0]}-{known[-1]}}}"
    return f"{{{','.join(map(str, known))}}}" if len(known) <= MOST_NUMBERS else "*"


def _free_cells(rows: Sequence[GroupRow]) -> tuple[Any, ...]:
    first = rows[0]
    exact = "yes" if first.inexact is None else f"no: {first.inexact_by}"
    carriers, elements = _range(len(row.carriers) for row in rows), _range(row.elements for row in rows)
    return common([row.name for row in rows]), len(rows), first.slots, carriers, elements, exact


def _range(numbers: Iterable[int]) -> str:
    low, *_, high = sorted([*numbers] * 2)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _examples(rows: Sequence[GroupRow]) -> str:
    """Return the names of rows, those alike as one, the rest as a count of axes."""
    alike = list(_together([row.name for row in rows], _numberless).values())
    shown = [common(names) for names in alike[:EXAMPLES]]
    rest = sum(map(len, alike[EXAMPLES:]))
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")


def _unknown_text(entry: tuple[str, tuple[str, ...]]) -> str:
    target, nodes = entry
    count = plural(len(nodes), "call")
    return f"no rule describes {target} ({count}: {listing(nodes, EXAMPLES)}), so its axes keep their slots"
