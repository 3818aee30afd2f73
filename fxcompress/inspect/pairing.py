"""Two graphs that are being aligned: their rows with their edges, and the pairs found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fxcompress.inspect.neighbourhood import inputs_of, users_of
from fxcompress.inspect.rows import Row
from fxcompress.inspect.snapshot import Snapshot


@dataclass(frozen=True)
class Graph:
    """The rows of a snapshot with their edges.

    Attributes:
        rows: the rows in their order.
        inputs: for every row, the rows that it reads, each once.
        users: for every row, the rows that read it.
        paths: for every row, the paths of its parameters as the other graph would have them.
        scopes: for every row, its module as the other graph would have it.
    """

    rows: tuple[Row, ...]
    inputs: list[list[int]]
    users: list[list[int]]
    paths: list[tuple[str, ...]]
    scopes: list[str]


class Pairs:
    """Pairs of row indices, one to one in both directions."""

    def __init__(self) -> None:
        self.after: dict[int, int] = {}
        self.before: dict[int, int] = {}

    def add(self, before: int, after: int) -> bool:
        """Pair two rows if neither has a partner yet."""
        if before in self.after or after in self.before:
            return False
        self.after[before] = after
        self.before[after] = before
        return True

    def remove(self, before: int) -> None:
        del self.before[self.after.pop(before)]


def graph_of(snapshot: Snapshot, shorten: Callable[[str], str]) -> Graph:
    """Return the graph of a snapshot; `shorten` takes from a path what only this graph has before it."""
    inputs = inputs_of(snapshot.rows)
    paths = [tuple(shorten(parameter.path) for parameter in row.parameters) for row in snapshot.rows]
    return Graph(snapshot.rows, inputs, users_of(inputs), paths, [shorten(row.scope) for row in snapshot.rows])


def sources(graph: Graph, paired: dict[int, int]) -> list[frozenset[int]]:
    """Return for every row the paired rows whose results reach it through none but free rows."""
    found: list[frozenset[int]] = []
    for given in graph.inputs:
        found.append(frozenset().union(*(frozenset((i,)) if i in paired else found[i] for i in given)))
    return found
