"""A report as text: a table of figures before and after, a table of passes, and notes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tabulate import tabulate

from fxcompress.inspect.as_text import counts_text, printable
from fxcompress.inspect.units import NOTHING, quantity, ratio_text

if TYPE_CHECKING:
    from fxcompress.inspect.report import Measurement, Report, StepRow

# Columns that a report takes at most.
WIDTH = 110


def report_text(report: Report) -> str:
    """Return the report with human units, no wider than `WIDTH` columns."""
    parts = [
        "\n".join(_wrapped(f"{report.model}: {report.pipeline or 'no pass'}", "  ")),
        _measurements(report),
        _steps(report),
        "\n".join(line for note in report.notes for line in _wrapped(f"note: {note}", "  ")),
    ]
    return "\n\n".join(part for part in parts if part)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(printable(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _measurements(report: Report) -> str:
    if not report.measurements:
        return ""
    rows = [_measurement(measurement) for measurement in report.measurements]
    filled = [column for column in range(5) if column < 4 or any(row[4] for row in rows)]
    return _table(
        ["", "before", "after", "ratio", ""],
        rows,
        ("left", "right", "right", "right", "left"),
        filled,
        (None,) * 4 + (40,),
    )


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


def _steps(report: Report) -> str:
    if not report.steps:
        return ""
    rows = [_step(position, step) for position, step in enumerate(report.steps, 1)]
    table = _table(
        ["", "pass", "fidelity", "time", "nodes", "difference", "statistics"],
        rows,
        ("right", "left", "left", "right", "right", "right", "left"),
        range(7),
        (None, 36, None, None, None, None, 30),
    )
    return "\n".join(
        [table, *(line for position, step in enumerate(report.steps, 1) for line in _notes(position, step))]
    )


def _step(position: int, step: StepRow) -> list[str]:
    return [
        str(position),
        printable(step.text),
        step.fidelity,
        quantity(step.seconds, "seconds"),
        change_text(step),
        difference_text(step),
        printable(statistics_text(step)),
    ]


def difference_text(step: StepRow) -> str:
    """Return the largest difference of the results, `-` where they were not compared."""
    difference = step.largest_difference
    return NOTHING if difference is None else "0" if difference == 0 else f"{difference:.1e}"


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


def _table(
    headers: list[str],
    rows: list[list[str]],
    align: tuple[str, ...],
    columns: range | list[int],
    widths: tuple[int | None, ...],
) -> str:
    chosen = list(columns)
    return tabulate(
        [[row[column] for column in chosen] for row in rows],
        headers=[headers[column] for column in chosen],
        colalign=[align[column] for column in chosen],
        maxcolwidths=[widths[column] for column in chosen],
        tablefmt="simple",
        disable_numparse=True,
        preserve_whitespace=False,
    )
