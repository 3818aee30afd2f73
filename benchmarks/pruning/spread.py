"""Mean and spread over seeds, the table of the accuracies, and how often either tool is ahead."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from pruning.results import Row

PEER, OURS, DENSE = "Torch-Pruning", "fxcompress", "dense"
KEYS = ("subject", "scope", "share", "tool", "importance")
FIGURES = ("macs", "parameters", "one_shot", "reconstructed", "tuned", "reconstructed_tuned")
HEADERS = (
    "network", "scope", "budget", "importance", "MACs peer", "MACs ours",
    "one-shot peer", "one-shot ours", "reconstructed", "tuned peer", "tuned ours", "reconstructed, tuned",
)  # fmt: skip


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
            found[f"{name}_spread"] = _spread(values)
    return found


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def table(summary: Sequence[Row]) -> list[list[str]]:
    """Return the rows of the table: the networks as they were, and both tools side by side."""
    peers = {_place(row): row for row in summary if row["tool"] == PEER}
    return [_cells(row, peers.get(_place(row))) for row in summary if row["tool"] != PEER]


def _place(row: Row) -> tuple[object, ...]:
    return row["subject"], row["scope"], row["share"]


def _cells(row: Row, peer: Row | None) -> list[str]:
    other = peer or {}
    figures = [
        *(f"{one['macs']:.3f}" if one else "" for one in (other, row)),
        *(_percent(one, "one_shot") for one in (other, row)),
        _percent(row, "reconstructed"),
        *(_percent(one, "tuned") for one in (other, row)),
        _percent(row, "reconstructed_tuned"),
    ]
    return [row["subject"], row["scope"] or row["tool"], f"{row['share']:.2f}", row["importance"], *figures]


def _percent(row: Row, name: str) -> str:
    return f"{row[name]:.2f} ± {row[f'{name}_spread']:.2f}" if name in row else ""


# Our figure, and the peer's that it is held against: the peer re-fits nothing.
_PAIRED = {"one_shot": "one_shot", "reconstructed": "one_shot", "tuned": "tuned", "reconstructed_tuned": "tuned"}


def verdict(rows: Sequence[Row]) -> list[str]:
    """Return a line for each importance and figure: how often ours is above and below the peer, and the worst case.

    Differences are taken seed by seed; a mean difference within their standard deviation counts as level.
    """
    peers = {(*_place(row), row["seed"]): row for row in rows if row["tool"] == PEER}
    ours = [row for row in rows if row["tool"] == OURS]
    lines = []
    for importance in dict.fromkeys(row["importance"] for row in ours):
        same = [row for row in ours if row["importance"] == importance]
        for name, other in _PAIRED.items():
            differences: dict[tuple[object, ...], list[float]] = {}
            for row in same:
                if name in row:
                    found = row[name] - peers[(*_place(row), row["seed"])][other]
                    differences.setdefault(_place(row), []).append(found)
            if differences:
                lines.append(f"{importance}, {name}: {_counted(list(differences.values()))}")
    return lines


def _counted(differences: Sequence[Sequence[float]]) -> str:
    means = [statistics.mean(one) for one in differences]
    margins = [_spread(one) for one in differences]
    above = sum(mean > margin for mean, margin in zip(means, margins, strict=True))
    below = sum(mean < -margin for mean, margin in zip(means, margins, strict=True))
    level = len(means) - above - below
    average = statistics.mean(means)
    return f"{above} above, {level} level, {below} below; {average:+.2f} in the mean, {min(means):+.2f} at worst"
