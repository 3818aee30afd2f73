"""What every pass of a run lost and won back, as values and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fxcompress.inspect.units import NOTHING, Unit, quantity

TITLE = "What each pass lost and won back"
MEANING = (
    "Agreement is the share of rows whose largest number stands where the teacher's does; SQNR and cosine are of the"
    " results beside those of the original."
)


@dataclass(frozen=True)
class Standing:
    """How good a model is; None where a figure was not measured.

    Attributes:
        metric: what the user's own `evaluate` gives, higher is better.
        sqnr_db: signal to noise of its results beside those of the original, in decibels.
        cosine: of the angle between both.
        agreement: share of the rows for which it has the same largest number as the teacher.
    """

    metric: float | None = None
    sqnr_db: float | None = None
    cosine: float | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class Point:
    """Where a model stands after a pass; the first point of a run is the original.

    Attributes:
        text: the pass as the pipeline spells it.
        standing: how good the model is.
    """

    text: str
    standing: Standing


@dataclass(frozen=True)
class Column:
    """One figure of a standing.

    Attributes:
        name: of the field.
        title: for people.
        unit: of the figure.
    """

    name: str
    title: str
    unit: Unit

    def values(self, points: Sequence[Point]) -> list[float | None]:
        return [getattr(point.standing, self.name) for point in points]

    def text(self, value: float | None) -> str:
        if self.name == "agreement" and value is not None:
            return f"{100 * value:.1f}%"
        return quantity(value, self.unit)


COLUMNS = (
    Column("metric", "evaluate", "score"),
    Column("agreement", "agreement", "ratio"),
    Column("sqnr_db", "SQNR", "dB"),
    Column("cosine", "cosine", "score"),
)


def columns_of(points: Sequence[Point]) -> tuple[Column, ...]:
    """Return the figures that were measured."""
    return tuple(column for column in COLUMNS if any(value is not None for value in column.values(points)))


def rows_of(points: Sequence[Point]) -> list[list[str]]:
    """Return a row of cells for each point: its place, the pass, the figures, and behind the metric its change."""
    columns = columns_of(points)
    rows = []
    for place, point in enumerate(points):
        cells = [str(place) if place else "", point.text]
        for column in columns:
            value = getattr(point.standing, column.name)
            cells.append(column.text(value))
            if column.name == "metric":
                cells.append(change_text(points, place))
        rows.append(cells)
    return rows


def headers_of(points: Sequence[Point]) -> list[str]:
    """Return what stands above the columns of `rows_of`."""
    titles = [[column.title, "change"] if column.name == "metric" else [column.title] for column in columns_of(points)]
    return ["", "pass", *(title for pair in titles for title in pair)]


def change_text(points: Sequence[Point], place: int) -> str:
    """Return by how much the metric moved with a pass, with its sign."""
    moved = change(points, place)
    return NOTHING if moved is None else "0" if moved == 0 else f"{moved:+.4g}"


def change(points: Sequence[Point], place: int) -> float | None:
    """Return by how much the metric moved with a pass; None for the original, and where it was not measured."""
    before = points[place - 1].standing.metric if place else None
    after = points[place].standing.metric
    return None if before is None or after is None else after - before
