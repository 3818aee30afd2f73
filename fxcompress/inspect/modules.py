"""The modules that rows are grouped by, and what changed in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fxcompress.inspect.entries import Comparison, Entry
from fxcompress.inspect.rows import Row


@dataclass(frozen=True)
class Module:
    """What changed in a module.

    Attributes:
        path: its path, "" for the root.
        removed, added, changed: numbers of nodes.
        before, after: weights and bytes of the tensors that its nodes are the first to read.
    """

    path: str
    removed: int
    added: int
    changed: int
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def touched(self) -> bool:
        return bool(self.removed or self.added or self.changed) or self.before != self.after


class Modules:
    """Tells for every entry of a diff the module it is shown under.

    A module with a single node before, as most layers are, is shown under the one around it.
    """

    def __init__(self, entries: Iterable[Entry], new_scopes: dict[str, str]) -> None:
        self.entries = tuple(entries)
        self.old_scopes = {after: before for before, after in new_scopes.items()}
        self.sizes: Counter[str] = Counter()
        known = {entry.before.scope for entry in self.entries if entry.before is not None}
        for entry in self.entries:
            if entry.before is None and self._scope(entry) in known:
                continue
            words = self._scope(entry).split(".")
            self.sizes.update(".".join(words[:end]) for end in range(1, len(words) + 1))

    def _scope(self, entry: Entry) -> str:
        if entry.before is not None:
            return entry.before.scope
        return self.old_scopes.get(entry.row.scope, entry.row.scope)

    def of(self, entry: Entry) -> str:
        """Return the path of the module that `entry` is shown under, "" for the root."""
        scope = self._scope(entry)
        return scope.rpartition(".")[0] if self.sizes[scope] == 1 else scope

    def counts(self) -> list[Module]:
        """Return what changed, module by module, in the order of the graph."""
        marks: Counter[tuple[str, str]] = Counter()
        sizes: Counter[tuple[str, str, int]] = Counter()
        read: set[tuple[str, str]] = set()
        paths: dict[str, None] = {}
        for entry in self.entries:
            path = self.of(entry)
            paths[path] = None
            marks[path, entry.mark] += 1
            for side, row in (("before", entry.before), ("after", entry.after)):
                _count(path, side, row, read, sizes)
        return [
            Module(
                path,
                removed=marks[path, "-"],
                added=marks[path, "+"],
                changed=marks[path, "~"],
                before=(sizes[path, "before", 0], sizes[path, "before", 1]),
                after=(sizes[path, "after", 0], sizes[path, "after", 1]),
            )
            for path in paths
        ]


def _count(
    path: str, side: str, row: Row | None, read: set[tuple[str, str]], sizes: Counter[tuple[str, str, int]]
) -> None:
    for parameter in row.parameters if row else ():
        if (side, parameter.owner) not in read:
            read.add((side, parameter.owner))
            sizes[path, side, 0] += parameter.weights
            sizes[path, side, 1] += parameter.bytes


def modules_of(diff: Comparison) -> Modules:
    """Return the grouping of a diff."""
    return Modules(diff.entries, diff.renaming.scopes)
