"""A report as text: a table of figures before and after, a table of passes, and notes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from tabulate import tabulate

from fxcompress.inspect.as_text import counts_text
from fxcompress.inspect.figures import Figures, Measurement, StepRow
from fxcompress.inspect.ranking import MOST_ROWS, ranking_text
from fxcompress.inspect.rows import printable
from fxcompress.inspect.trajectory import TITLE, headers_of, rows_of
from fxcompress.inspect.units import NOTHING, quantity, ratio_text

# Characters that a line takes at most. The widths of the columns of a table and the gaps between them add up to less.
WIDTH = 110


@dataclass(frozen=True)
class Column:
    """A column of a table: what stands above it, to which side its cells go, where they are broken."""

    header: str
    align: str
    width: int


MEASUREMENT_COLUMNS = (
    Column("", "left", 22),
    Column("before", "right", 18),
    Column("after", "right", 18),
    Column("ratio", "right", 9),
    Column("", "left", 34),
)
STEP_COLUMNS = (
    Column("", "right", 3),
    Column("pass", "left", 30),
    Column("fidelity", "left", 8),
    Column("time", "right", 8),
    Column("nodes", "right", 12),
    Column("difference", "right", 10),
    Column("statistics", "left", 26),
)


def report_text(report: Figures) -> str:
    """Return the report with human units, no wider than `WIDTH` columns."""
    parts = [
        "\n".join(_wrapped(f"{report.model}: {report.pipeline or 'no pass'}", "  ")),
        _measurements(report),
        _steps(report),
        _trajectory(report),
        *(ranking_text(step.ranking, MOST_ROWS) for step in report.steps if step.ranking is not None),
        ranking_text(report.worst_layers, MOST_ROWS) if report.worst_layers.rows else "",
        "\n".join(line for note in report.notes for line in _wrapped(f"note: {note}", "  ")),
    ]
    return "\n\n".join(part for part in parts if part)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(printable(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _measurements(report: Figures) -> str:
    if not report.measurements:
        return ""
    rows = [_measurement(measurement) for measurement in report.measurements]
    columns = MEASUREMENT_COLUMNS if any(row[-1] for row in rows) else MEASUREMENT_COLUMNS[:-1]
    return _table(columns, rows)


def _measurement(measurement: Measurement) -> list[str]:
    unit = measurement.unit
    ratio = NOTHING if unit == "dB" else ratio_text(measurement.before, measurement.after)
    return [
        printable(measurement.name),
        quantity(measurement.before, unit, measurement.spread_before),
        quantity(measurement.after, unit, measurement.spread_after),
        ratio,
        printable(measurement.note),
    ]


def _steps(report: Figures) -> str:
    if not report.steps:
        return ""
    rows = [_step(position, step) for position, step in enumerate(report.steps, 1)]
    table = _table(STEP_COLUMNS, rows)
    return "\n".join(
        [table, *(line for position, step in enumerate(report.steps, 1) for line in _notes(position, step))]
    )


def _step(position: int, step: StepRow) -> list[str]:
    return [
        str(position),
        printable(step.text),
        printable(step.fidelity),
        quantity(step.seconds, "seconds"),
        change_text(step),
        difference_text(step),
        printable(statistics_text(step)),
    ]


def _trajectory(report: Figures) -> str:
    points = report.trajectory
    if not points:
        return ""
    sizes = [("right", 3), ("left", 40), *(("right", 11) for _ in headers_of(points)[2:])]
    columns = tuple(
        Column(title, align, width) for title, (align, width) in zip(headers_of(points), sizes, strict=True)
    )
    rows = [[printable(cell) for cell in row] for row in rows_of(points)]
    return f"{TITLE}:\n{_table(columns, rows)}"


def difference_text(step: StepRow) -> str:
    """Return the largest difference of the results, `-` where they were not compared."""
    difference = step.largest_difference
    return NOTHING if difference is None else f"{difference:.2g}"


def statistics_text(step: StepRow) -> str:
    """Return what a pass counted: `weights set to zero: 1,152`."""
    figures = (f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in step.statistics.values())
    return ", ".join(f"{name}: {figure}" for name, figure in zip(step.statistics, figures, strict=True))


def change_text(step: StepRow) -> str:
    """Return how many nodes a step removed, added and changed: `-1 ~1`."""
    if not step.changed:
        return "no change"
    diff = step.diff
    return (counts_text(diff.removed, diff.added, diff.changed) if diff else "") or "changed"


def _notes(position: int, step: StepRow) -> Iterator[str]:
    for note in step.notes:
        yield from _wrapped(f"pass {position}: {note}", "  ")


def _table(columns: tuple[Column, ...], rows: list[list[str]]) -> str:
    """Return a table; cells are broken here, since `tabulate` trips over figures with commas where it breaks them."""
    return tabulate(
        [
            [
                textwrap.fill(cell, column.width, break_on_hyphens=False)
                for cell, column in zip(row, columns, strict=False)
            ]
            for row in rows
        ],
        headers=[column.header for column in columns],
        colalign=[column.align for column in columns],
        tablefmt="simple",
        disable_numparse=True,
    )


def _broken(cell: str, width: int) -> str:
    return textwrap.fill(cell, width, break_on_hyphens=False)
