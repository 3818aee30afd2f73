"""What every pass lost and won back, as a table and as lines: a panel for each figure, passes from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fxcompress.inspect.markup import Markup, element, join, section, table
from fxcompress.inspect.trajectory import MEANING, TITLE, Column, Point, columns_of, headers_of, rows_of

HEIGHT, TOP, BOTTOM, LEFT, RIGHT, STEP = 156.0, 24.0, 42.0, 26.0, 64.0, 88.0
# Above this nothing differs that anybody would notice; an exact result has no noise at all.
MOST_DECIBELS = 60.0
# Pixels up or down that count as a change.
SEEN = 0.5


def trajectory_section(points: Sequence[Point]) -> Markup:
    """Return a part of a page; nothing where no trajectory was measured."""
    if not points:
        return Markup()
    drawn = [column for column in columns_of(points) if column.name in ("metric", "agreement", "sqnr_db")]
    panels = [_panel(column, points) for column in drawn]
    _, *titles = headers_of(points)
    headers = [title if title == "pass" else f"{title}>" for title in titles]
    rows = ([_pass(place, text), *figures] for place, text, *figures in rows_of(points))
    meaning = element("p", MEANING, class_="remark")
    return section(
        TITLE, meaning, element("div", *panels, class_="trajectory"), table(headers, rows, class_="standings")
    )


def _pass(place: str, text: str) -> Markup:
    return join([element("small", place, class_="position"), element("code", text)])


@dataclass(frozen=True)
class Dot:
    """A value where it is drawn."""

    x: float
    y: float
    text: str
    title: str


def _panel(column: Column, points: Sequence[Point]) -> Markup:
    """Return one figure over the passes as a line."""
    dots = _dots(column, points)
    width = LEFT + RIGHT + STEP * max(len(points) - 1, 1)
    steps = list(pairwise(dots))
    lines = [_line(one, other) for one, other in steps]
    # Where the line goes up behind a dot, the figure stands below it.
    rises = [other.y < one.y - SEEN for one, other in steps]
    ticks = [_tick(place) for place in range(len(points))]
    drawing = element(
        "svg",
        *ticks,
        *lines,
        *(mark for dot, below in zip(dots, [*rises, False], strict=False) for mark in _mark(dot, below)),
        viewBox=f"0 0 {width:.0f} {HEIGHT:.0f}",
        width=f"{width:.0f}",
        height=f"{HEIGHT:.0f}",
        role="img",
        aria_label=f"{column.title}: {', '.join(dot.text for dot in dots)}",
    )
    return element("figure", element("figcaption", column.title), drawing)


def _dots(column: Column, points: Sequence[Point]) -> list[Dot]:
    values = [None if value is None or value != value else _drawn(column, value) for value in column.values(points)]
    there = [value for value in values if value is not None]
    low, high = min(there, default=0.0), max(there, default=1.0)
    span = high - low or 1.0
    found = []
    for place, (value, point) in enumerate(zip(values, points, strict=True)):
        if value is not None:
            y = TOP + (high - value) / span * (HEIGHT - TOP - BOTTOM)
            found.append(Dot(_x(place), y, column.text(getattr(point.standing, column.name)), point.text))
    return found


def _drawn(column: Column, value: float) -> float:
    """Return a value as far as it is drawn."""
    return max(min(value, MOST_DECIBELS), -MOST_DECIBELS) if column.unit == "dB" else value


def _x(place: int) -> float:
    return LEFT + place * STEP


def _line(one: Dot, other: Dot) -> Markup:
    moved = "kept" if abs(other.y - one.y) < SEEN else "won" if other.y < one.y else "lost"
    return element("line", x1=f"{one.x:.1f}", y1=f"{one.y:.1f}", x2=f"{other.x:.1f}", y2=f"{other.y:.1f}", class_=moved)


def _mark(dot: Dot, below: bool) -> list[Markup]:
    x, y = f"{dot.x:.1f}", f"{dot.y:.1f}"
    circle = element("circle", element("title", f"{dot.title}: {dot.text}"), cx=x, cy=y, r="3.5")
    return [circle, element("text", dot.text, x=x, y=f"{dot.y + (16 if below else -8):.1f}", class_="value")]


def _tick(place: int) -> Markup:
    x = f"{_x(place):.1f}"
    line = element("line", x1=x, y1=f"{TOP:.1f}", x2=x, y2=f"{HEIGHT - BOTTOM:.1f}", class_="tick")
    label = element("text", str(place) if place else "original", x=x, y=f"{HEIGHT - 6:.1f}", class_="place")
    return join([line, label])
