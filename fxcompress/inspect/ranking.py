"""A list of layers, the one that loses most first, as a table or as bars."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tabulate import tabulate

from fxcompress.inspect.as_text import TOP
from fxcompress.inspect.rows import printable
from fxcompress.inspect.units import NOTHING, quantity
from fxcompress.text import plural

# Rows that a report shows before it is asked for more, and the most characters of a name in text.
MOST_ROWS = 10
WIDEST_NAME = 60


@dataclass(frozen=True)
class Ranked:
    """A layer and what is lost with it.

    Attributes:
        name: path of the layer or of its weight.
        sqnr_db: signal to quantization noise, in decibels.
        metric: the user's own measure; None where there is none.
        note: what else there is to say.
    """

    name: str
    sqnr_db: float
    metric: float | None = None
    note: str = ""

    @property
    def error(self) -> float:
        """The error as a share of the signal, both as root mean squares; infinite where nothing of it is left."""
        return math.inf if self.sqnr_db == -math.inf else 10 ** (-self.sqnr_db / 20)


@dataclass(frozen=True)
class Ranking:
    """Layers, the one that loses most first. `str()` of it is a table of all."""

    title: str
    rows: tuple[Ranked, ...]

    def __str__(self) -> str:
        return ranking_text(self)


def ranking_text(ranking: Ranking, most: int | None = None) -> str:
    """Return the title and a table, of the first `most` rows where a number is given."""
    shown = ranking.rows[:most]
    if not shown:
        return f"{ranking.title}: none"
    judged, noted = any(row.metric is not None for row in shown), any(row.note for row in shown)
    headers = ["layer", "SQNR", "error", *["metric"] * judged, *[""] * noted]
    sides = ["left", "right", "right", *["right"] * judged, *["left"] * noted]
    table = tabulate(
        [_cells(row, judged, noted) for row in shown],
        headers=headers,
        colalign=sides,
        tablefmt="simple",
        disable_numparse=True,
    )
    lines = [f"{ranking.title}:", table]
    if len(shown) < len(ranking.rows):
        lines.append(f"and {plural(len(ranking.rows) - len(shown), 'layer')} more that lose less")
    return "\n".join(lines)


def _cells(row: Ranked, judged: bool, noted: bool) -> list[str]:
    name = printable(row.name or TOP)
    # The end of a path tells more than its beginning.
    short = name if len(name) <= WIDEST_NAME else f"…{name[1 - WIDEST_NAME :]}"
    metric = [quantity(row.metric, "score")] if judged else []
    return [short, quantity(row.sqnr_db, "dB"), error_text(row), *metric, *([printable(row.note)] if noted else [])]


def error_text(row: Ranked) -> str:
    """Return the error in percent, `-` where that says nothing."""
    return f"{100 * row.error:.2g}%" if math.isfinite(row.error) and row.error < 10 else NOTHING
