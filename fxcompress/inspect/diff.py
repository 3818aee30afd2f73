"""The difference of two graphs: their rows side by side, and which cells of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fxcompress.inspect import as_html, as_json, as_text
from fxcompress.inspect.alignment import align
from fxcompress.inspect.arguments import Argument, Piece
from fxcompress.inspect.entries import Comparison, Entry
from fxcompress.inspect.pairing import Graph, Pairs, graph_of, sources
from fxcompress.inspect.renaming import Renaming, common_prefix
from fxcompress.inspect.rows import Row
from fxcompress.inspect.snapshot import Snapshot


@dataclass(frozen=True)
class GraphDiff(Comparison):
    """Two graphs, aligned. `str()` of it is a unified diff; it is true where there is a difference."""

    def __str__(self) -> str:
        return as_text.diff_text(self)

    def stat(self) -> str:
        """Return a line a module: nodes removed, added and changed, parameters and bytes before and after."""
        return as_text.stat_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the diff as plain JSON values, with the version of their layout under `format`."""
        return as_json.diff_dict(self)

    def to_html(self) -> str:
        """Return the diff as one page that needs no other file and no network."""
        return as_html.diff_page(self)


def diff_snapshots(before: Snapshot, after: Snapshot) -> GraphDiff:
    """Return what changed from one snapshot to another.

    Rows are paired by what passes have recorded, by contents and surroundings, and by the names of parameters
    (`alignment`). A row is unchanged where it calls the same with the same: a node that was put in between or taken out
    is a change of its own, not of those that read it.
    """
    prefix = common_prefix(before, after)
    a, b = graph_of(before, prefix.before), graph_of(after, prefix.after)
    pairs = align(a, b)
    renaming = Renaming.of((before.rows[i], after.rows[j]) for i, j in sorted(pairs.after.items()))
    comparison = _Comparer(a, b, pairs, renaming)
    entries = tuple(comparison.entry(i, j) for i, j in merged(len(before.rows), len(after.rows), pairs))
    return GraphDiff(before, after, entries, renaming)


def merged(before: int, after: int, pairs: Pairs) -> list[tuple[int | None, int | None]]:
    """Return all rows in the order of the graph after; removed ones follow those that they followed before."""
    following: dict[int | None, list[int]] = {}
    last: int | None = None
    for i in range(before):
        if i in pairs.after:
            last = i
        else:
            following.setdefault(last, []).append(i)
    order: list[tuple[int | None, int | None]] = [(i, None) for i in following.get(None, ())]
    for j in range(after):
        former = pairs.before.get(j)
        order.append((former, j))
        if former is not None:
            order.extend((i, None) for i in following.get(former, ()))
    return order


class _Comparer:
    """Compares paired rows cell by cell."""

    def __init__(self, a: Graph, b: Graph, pairs: Pairs, renaming: Renaming) -> None:
        self.a, self.b, self.pairs, self.renaming = a, b, pairs, renaming
        self.index_a = {row.name: i for i, row in enumerate(a.rows)}
        self.index_b = {row.name: j for j, row in enumerate(b.rows)}
        self.sources_a, self.sources_b = sources(a, pairs.after), sources(b, pairs.before)

    def entry(self, i: int | None, j: int | None) -> Entry:
        before = None if i is None else self.a.rows[i]
        after = None if j is None else self.b.rows[j]
        if before is None or after is None:
            return Entry(before, after)
        called = before.op not in ("placeholder", "output")
        moved = called and self.renaming.scopes.get(before.scope) != after.scope
        return Entry(before, after, tuple(self._changed(before, after)), moved)

    def _changed(self, before: Row, after: Row) -> list[str]:
        former = {argument.key: argument for argument in before.arguments}
        present = {argument.key: argument for argument in after.arguments}
        cells = ["op"] if before.target != after.target else []
        for key in dict.fromkeys((*former, *present)):
            if not self._same_argument(before, after, former.get(key), present.get(key)):
                cells.append(key)
        return cells + (["result"] if before.result != after.result else [])

    def _same_argument(self, before: Row, after: Row, former: Argument | None, present: Argument | None) -> bool:
        if former is None or present is None or len(former.pieces) != len(present.pieces):
            return False
        pieces: Sequence[tuple[Piece, Piece]] = list(zip(former.pieces, present.pieces, strict=True))
        return all(self._same_piece(before, after, x, y) for x, y in pieces)

    def _same_piece(self, before: Row, after: Row, x: Piece, y: Piece) -> bool:
        if x.kind != y.kind:
            return False
        if x.kind == "node":
            return self._same_node(self.index_a[x.text], self.index_b[y.text])
        if x.kind == "text":
            return x.text == y.text
        p, q = before.parameter(x.text), after.parameter(y.text)
        names = self.renaming.parameters
        named = names.get(p.path) == q.path and names.get(p.owner) == q.owner
        return named and (p.dtype, p.shape, p.digest) == (q.dtype, q.shape, q.digest)

    def _same_node(self, i: int, j: int) -> bool:
        """Whether two results are the same but for nodes that were put in or taken out on the way."""
        partner = self.pairs.after.get(i)
        if partner is not None and j in self.pairs.before:
            return partner == j
        if partner is not None:
            return partner in self.sources_b[j]
        former = self.pairs.before.get(j)
        if former is not None:
            return former in self.sources_a[i]
        reached = {self.pairs.after[x] for x in self.sources_a[i]}
        return bool(reached & self.sources_b[j]) or reached == self.sources_b[j]
