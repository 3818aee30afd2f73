"""Two graphs side by side: their rows paired, and which cells of a pair differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fxcompress.inspect.renaming import Renaming
from fxcompress.inspect.rows import Row
from fxcompress.inspect.snapshot import Snapshot

Mark = Literal["=", "~", "-", "+"]


@dataclass(frozen=True)
class Entry:
    """A row before, the same row after, or both.

    Attributes:
        before: the row in the graph before; None where it was added.
        after: the row in the graph after; None where it was removed.
        changed: the cells that differ, of a row that stands in both: `op`, `result`, and keys of arguments. Names of
            nodes, parameters and modules that changed with all their mentions are no difference.
        moved: whether the row went to another module, though its former module still stands.
    """

    before: Row | None
    after: Row | None
    changed: tuple[str, ...] = ()
    moved: bool = False

    @property
    def mark(self) -> Mark:
        """`-` removed, `+` added, `~` changed, `=` the same."""
        if self.before is None or self.after is None:
            return "-" if self.after is None else "+"
        return "~" if self.changed else "="

    @property
    def row(self) -> Row:
        """The row before, or after where there was none."""
        found = self.before or self.after
        assert found is not None
        return found


@dataclass(frozen=True)
class Comparison:
    """Two graphs, aligned; true where there is a difference.

    Attributes:
        before: the graph before.
        after: the graph after.
        entries: all rows in the order of the graph after, removed ones behind their former neighbours.
        renaming: names that changed throughout.
    """

    before: Snapshot
    after: Snapshot
    entries: tuple[Entry, ...]
    renaming: Renaming

    @cached_property
    def changes(self) -> tuple[Entry, ...]:
        """The entries that are not the same before and after."""
        return tuple(entry for entry in self.entries if entry.mark != "=")

    @property
    def added(self) -> int:
        """Number of rows that stand only in the graph after."""
        return sum(entry.mark == "+" for entry in self.changes)

    @property
    def removed(self) -> int:
        """Number of rows that stand only in the graph before."""
        return sum(entry.mark == "-" for entry in self.changes)

    @property
    def changed(self) -> int:
        """Number of rows that stand in both graphs and differ."""
        return sum(entry.mark == "~" for entry in self.changes)

    @property
    def empty(self) -> bool:
        """Whether the graphs are the same but for names."""
        return not self.changes

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say about names that changed throughout."""
        return tuple(self.renaming.lines(sum(entry.moved for entry in self.entries)))

    def __bool__(self) -> bool:
        return not self.empty
