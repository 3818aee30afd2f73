"""Mean and spread over seeds, and the table of the accuracies."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from pruning.results import Row

HEADERS = ("network", "scope", "budget", "tool", "importance", "MACs left", "one-shot", "reconstructed", "tuned")
KEYS = ("subject", "scope", "share", "tool", "importance")
FIGURES = ("macs", "parameters", "one_shot", "reconstructed", "tuned")


def over_seeds(rows: Iterable[Row]) -> list[Row]:
    """Return a row for what differs by its seed only: of every figure the mean and the standard deviation."""
    together: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        together.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    return [{**dict(zip(KEYS, key, strict=True)), **_figures(same)} for key, same in together.items()]


def _figures(rows: Sequence[Row]) -> Row:
    found: Row = {"seeds": len(rows)}
    for name in FIGURES:
        values = [row[name] for row in rows if name in row]
        if values:
            found[name] = statistics.mean(values)
            found[f"{name}_spread"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return found


def cells(row: Row) -> list[str]:
    """Return a row of the table."""
    return [
        row["subject"],
        row["scope"],
        f"{row['share']:.2f}",
        row["tool"],
        row["importance"],
        f"{row['macs']:.3f}",
        *(_percent(row, name) for name in ("one_shot", "reconstructed", "tuned")),
    ]


def _percent(row: Row, name: str) -> str:
    return f"{row[name]:.2f} ± {row[f'{name}_spread']:.2f}" if name in row else ""


def verdict(rows: Sequence[Row]) -> list[str]:
    """Return a line for each figure and importance: how often ours is below the peer, and the worst case.

    A difference within the larger of the two spreads counts as level.
    """
    peers = {_place(row): row for row in rows if row["tool"] == "Torch-Pruning"}
    ours = [row for row in rows if row["tool"] == "fxcompress"]
    lines = []
    for importance in dict.fromkeys(row["importance"] for row in ours):
        pairs = [(row, peers[_place(row)]) for row in ours if row["importance"] == importance]
        lines += [
            f"{importance}, {name}: {_counted(pairs, name, other)}" for name, other in _PAIRED if _has(pairs, name)
        ]
    return lines


# Our figure, and the peer's that it is held against: the peer re-fits nothing.
_PAIRED = (("one_shot", "one_shot"), ("reconstructed", "one_shot"), ("tuned", "tuned"))


def _place(row: Row) -> tuple[object, ...]:
    return row["subject"], row["scope"], row["share"]


def _has(pairs: Sequence[tuple[Row, Row]], name: str) -> bool:
    return all(name in ours for ours, _ in pairs)


def _counted(pairs: Sequence[tuple[Row, Row]], name: str, other: str) -> str:
    ahead = below = 0
    differences = []
    for ours, peer in pairs:
        difference = ours[name] - peer[other]
        level = max(ours[f"{name}_spread"], peer[f"{other}_spread"])
        ahead, below = ahead + (difference > level), below + (difference < -level)
        differences.append(difference)
    level = len(pairs) - ahead - below
    mean = statistics.mean(differences)
    return f"{ahead} above, {level} level, {below} below; {mean:+.2f} in the mean, {min(differences):+.2f} at worst"
