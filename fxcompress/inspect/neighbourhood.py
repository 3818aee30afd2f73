"""What rows look like without their names: labels, and hashes of what stands around them.

The hashes are those of B. Weisfeiler and A. Lehman, "A reduction of a graph to a canonical form" (1968), taken
separately along the inputs and along the users and stopped after a few rounds, so that a change stays local.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from fxcompress.inspect.rows import Row


class Codes:
    """Numbers for values, equal where the values are equal. Two graphs that are compared share one object."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, value: Hashable) -> int:
        return self._numbers.setdefault(value, len(self._numbers))


def inputs_of(rows: tuple[Row, ...]) -> list[list[int]]:
    """Return for every row the indices of the rows that it reads, in the order of its arguments, each once."""
    index = {row.name: position for position, row in enumerate(rows)}
    return [
        list(dict.fromkeys(index[p.text] for a in row.arguments for p in a.pieces if p.kind == "node")) for row in rows
    ]


def users_of(inputs: list[list[int]]) -> list[list[int]]:
    """Return for every row the indices of the rows that read it."""
    users: list[list[int]] = [[] for _ in inputs]
    for position, given in enumerate(inputs):
        for source in given:
            users[source].append(position)
    return users


def literals(row: Row) -> Hashable:
    """Return the arguments of a row without the names of nodes and the paths of parameters."""
    return tuple((a.key, tuple((p.kind, p.text if p.kind == "text" else "") for p in a.pieces)) for a in row.arguments)


def shapes(row: Row) -> Hashable:
    """Return the types of the parameters of a row."""
    return tuple((parameter.dtype, parameter.shape) for parameter in row.parameters)


def contents(row: Row) -> Hashable:
    """Return the digests of the parameters of a row."""
    return tuple(parameter.digest for parameter in row.parameters)


def labels_of(rows: tuple[Row, ...], known: Mapping[int, int], describe: Callable[[Row], Hashable]) -> list[Hashable]:
    """Return what every row shows of itself: its pair where that is `known`, else what `describe` says."""
    return [("pair", known[position]) if position in known else describe(row) for position, row in enumerate(rows)]


def hashes(
    labels: Sequence[Hashable], edges: list[list[int]], codes: Codes, ordered: bool, rounds: int = 3
) -> list[list[int]]:
    """Return, for 0 to `rounds`, a number for every row that stands for the labels within so many edges of it.

    Args:
        labels: what every row shows of itself.
        edges: for every row, the rows next to it on one side.
        codes: shared by the graphs that are compared.
        ordered: whether the order of the edges counts, as it does for inputs.
        rounds: how far a row sees.
    """
    found = [[codes(("label", label)) for label in labels]]
    for _ in range(rounds):
        last = found[-1]
        around = ([last[near] for near in nearby] for nearby in edges)
        found.append(
            [codes((own, tuple(seen if ordered else sorted(seen)))) for own, seen in zip(last, around, strict=True)]
        )
    return found
