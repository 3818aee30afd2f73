"""A ranking of layers as bars: the longer, the more is lost."""

from __future__ import annotations

import math

from fxcompress.inspect.as_text import TOP
from fxcompress.inspect.markup import Markup, breakable, element, section
from fxcompress.inspect.ranking import MOST_ROWS, Ranked, Ranking, error_text
from fxcompress.inspect.units import quantity
from fxcompress.text import plural


def ranking_section(ranking: Ranking) -> Markup:
    """Return a part of a page: a bar for each of the first rows, and behind a click the others."""
    most = max((row.error for row in ranking.rows if math.isfinite(row.error)), default=0.0)
    lines = [_line(row, most) for row in ranking.rows]
    parts = [
        element("p", "Error as a share of the signal, root mean squares.", class_="remark"),
        element("div", *lines[:MOST_ROWS], class_="bars"),
    ]
    if len(lines) > MOST_ROWS:
        summary = element("summary", plural(len(lines) - MOST_ROWS, "layer"), " that lose less")
        parts.append(element("details", summary, element("div", *lines[MOST_ROWS:], class_="bars"), class_="more"))
    return section(ranking.title, *(parts if lines else []))


def _line(row: Ranked, most: float) -> Markup:
    share = min(row.error / most, 1.0) if most else float(row.error > 0)
    bar = element("span", class_="bar after", style=f"width:{100 * share:.2f}%")
    metric = [] if row.metric is None else [f" · {quantity(row.metric, 'score')}"]
    note = [element("small", f" {row.note}")] if row.note else []
    return element(
        "div",
        element("span", breakable(row.name or TOP), *note, class_="module"),
        element("span", bar, class_="bar-pair", aria_hidden="true"),
        element("span", quantity(row.sqnr_db, "dB"), f" · {error_text(row)}", *metric, class_="figure"),
        class_="bar-row",
    )
