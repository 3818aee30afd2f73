"""Mends an alignment where equal calls follow each other and the odd one out was told by its place alone.

Of `relu(relu(x))` against `relu(x)` either call may be the one that was put in. Which one it is shows in who else reads
them: the free row changes places with a like neighbour for as long as that leaves fewer arguments that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fxcompress.inspect.neighbourhood import contents, literals, shapes
from fxcompress.inspect.pairing import Graph, Pairs

# Equal calls in a row that a free row may pass.
MOST_STEPS = 8


@dataclass(frozen=True)
class Side:
    """One of two graphs as seen from the other: its edges, and the partners of its rows."""

    graph: Graph
    partner: dict[int, int]

    def sources(self, row: int) -> set[int]:
        """Return the partners of the paired rows whose results reach `row`, or are it, through none but free rows."""
        found, seen, waiting = set(), {row}, [row]
        while waiting:
            current = waiting.pop()
            if current in self.partner:
                found.add(self.partner[current])
            else:
                fresh = [given for given in self.graph.inputs[current] if given not in seen]
                seen.update(fresh)
                waiting.extend(fresh)
        return found


def slide_free_rows(a: Graph, b: Graph, pairs: Pairs, sure: set[int]) -> None:
    """Let the free rows of either graph change places with like neighbours where that leaves fewer differences.

    Args:
        a: the graph before.
        b: the graph after.
        pairs: the alignment; changed in place.
        sure: rows before whose partner is not in doubt.
    """
    fixed = {pairs.after[i] for i in sure if i in pairs.after}
    before, after = Side(a, pairs.after), Side(b, pairs.before)
    for here, there, kept in ((after, before, fixed), (before, after, sure)):
        for free in range(len(here.graph.rows)):
            if free not in here.partner:
                for nearby in (here.graph.inputs, here.graph.users):
                    if _slide(here, there, free, nearby, kept):
                        break


def _slide(here: Side, there: Side, free: int, nearby: list[list[int]], kept: set[int]) -> bool:
    """Move `free` along `nearby` until fewer arguments differ; take it back where that does not come about."""
    steps: list[tuple[int, int]] = []
    while len(steps) < MOST_STEPS:
        neighbour = next((row for row in nearby[free] if row not in kept and _alike(here, row, free)), None)
        if neighbour is None:
            break
        around = _around(here, there, free, neighbour)
        before = _differences(here, there, around)
        _swap(here, there, neighbour, free)
        steps.append((neighbour, free))
        if _differences(here, there, around) < before:
            return True
        free = neighbour
    for neighbour, freed in reversed(steps):
        _swap(here, there, freed, neighbour)
    return False


def _alike(here: Side, row: int, free: int) -> bool:
    x, y = here.graph.rows[row], here.graph.rows[free]
    return row in here.partner and x.op == y.op and literals(x) == literals(y) and shapes(x) == shapes(y)


def _swap(here: Side, there: Side, paired: int, free: int) -> None:
    """Give the partner of `paired` to `free`."""
    partner = here.partner.pop(paired)
    here.partner[free] = partner
    there.partner[partner] = free


def _around(here: Side, there: Side, free: int, neighbour: int) -> set[int]:
    """Return the rows there whose arguments the exchange may touch."""
    partner = here.partner[neighbour]
    readers = {*_readers(here, free), *_readers(here, neighbour)}
    return {partner, *_readers(there, partner), *(here.partner[row] for row in readers)}


def _readers(side: Side, row: int) -> Iterator[int]:
    """Yield the paired rows that read `row`, directly or through free rows."""
    seen, waiting = {row}, list(side.graph.users[row])
    while waiting:
        user = waiting.pop()
        if user in seen:
            continue
        seen.add(user)
        if user in side.partner:
            yield user
        else:
            waiting.extend(side.graph.users[user])


def _differences(here: Side, there: Side, rows: Iterable[int]) -> int:
    """Return how many arguments of `rows` of the other graph differ from those of their partners."""
    count = 0
    for row in rows:
        if row in there.partner:
            partner = there.partner[row]
            given, found = there.graph.inputs[row], here.graph.inputs[partner]
            count += abs(len(given) - len(found))
            count += contents(there.graph.rows[row]) != contents(here.graph.rows[partner])
            count += there.graph.paths[row] != here.graph.paths[partner]
            count += sum(not _same(here, there, y, x) for x, y in zip(given, found, strict=False))
    return count


def _same(here: Side, there: Side, own: int, other: int) -> bool:
    if own in here.partner and other in there.partner:
        return here.partner[own] == other
    return not here.sources(own).isdisjoint(here.partner[row] for row in there.sources(other))
