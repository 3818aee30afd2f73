"""Ratio against error as a drawing: a panel for each network, a dot for each file, means joined, published points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

# Han, Mao, Dally, Deep Compression, 2016, table 1: bytes with index and codebook, and test error in percent.
PUBLISHED = {"lenet-300-100": (40.0, 1.58), "lenet-5": (39.0, 0.74)}
RATIOS = (30, 40, 60, 80, 100, 150, 200, 300, 400)
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 220, 50, 40, 70
COLOURS = {16: "#1f6fb4", 8: "#d95f0e"}


class Panel:
    """Where a ratio and an error lie in the drawing."""

    def __init__(self, number: int, errors: Sequence[float]) -> None:
        self.left = LEFT + number * (WIDTH + GAP)
        self.low = math.floor(min(errors) * 10 - 1) / 10
        self.high = math.ceil(max(errors) * 10 + 1) / 10

    def x(self, ratio: float) -> float:
        first, last = math.log(RATIOS[0]), math.log(RATIOS[-1])
        return self.left + WIDTH * (math.log(ratio) - first) / (last - first)

    def y(self, error: float) -> float:
        return TOP + HEIGHT * (self.high - error) / (self.high - self.low)


def drawing(results: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of what `deep_compression.py` measured."""
    width, height = LEFT + len(results) * (WIDTH + GAP) - GAP + 20, TOP + HEIGHT + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, result in enumerate(results):
        lines += panel(number, result)
    return "\n".join([*lines, "</svg>", ""])


def panel(number: int, result: dict[str, Any]) -> Iterator[str]:
    """Yield the drawing of one network."""
    files = result["records"]
    published = PUBLISHED[result["model"]]
    at = Panel(number, [*(one["error"] for one in files), *result["dense_errors"], published[1]])
    yield from axes(at, result["model"])
    level = at.y(result["dense_error"])
    yield f'<path d="M{at.left} {level:.1f}h{WIDTH}" stroke="#444" stroke-dasharray="5 3"/>'
    yield text(at.left + 4, level - 4, f"dense {result['dense_error']:.2f}%")
    for values in sorted({one["values"] for one in files}, reverse=True):
        yield from series(at, [one for one in files if one["values"] == values], COLOURS.get(values, "#333"))
    for place, (values, colour) in enumerate(COLOURS.items()):
        # Few files are small and wrong at once: the lower left corner is free.
        line = TOP + HEIGHT - 12 - 15 * place
        yield dot(at.left + 10, line - 4, 4, colour, 1)
        yield text(at.left + 18, line, f"{values} shared values")
    x, y = at.x(published[0]), at.y(published[1])
    yield f'<path d="M{x - 5:.1f} {y:.1f}h10M{x:.1f} {y - 5:.1f}v10" stroke="#b00" stroke-width="2"/>'
    yield text(x + 8, y + 4, "Han et al. 2016")


def axes(at: Panel, name: str) -> Iterator[str]:
    yield f'<rect x="{at.left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>'
    yield text(at.left + WIDTH / 2, TOP - 12, f"{name}: test error in % against times smaller", "middle")
    for ratio in RATIOS:
        yield f'<path d="M{at.x(ratio):.1f} {TOP}v{HEIGHT}" stroke="#eee"/>'
        yield text(at.x(ratio), TOP + HEIGHT + 15, f"{ratio}x", "middle")
    steps = round((at.high - at.low) * 10)
    for step in range(0, steps + 1, 1 if steps <= 8 else 2):
        error = at.low + step / 10
        yield f'<path d="M{at.left} {at.y(error):.1f}h{WIDTH}" stroke="#eee"/>'
        yield text(at.left - 6, at.y(error) + 4, f"{error:.1f}", "end")


def series(at: Panel, files: Sequence[dict[str, Any]], colour: str) -> Iterator[str]:
    """Yield a dot for each file, and the means of each sparsity, joined."""
    for one in files:
        yield dot(at.x(one["ratio"]), at.y(one["error"]), 2.5, colour, 0.45)
    means = []
    for sparsity in sorted({one["sparsity"] for one in files}):
        same = [one for one in files if one["sparsity"] == sparsity]
        means.append((at.x(mean(one["ratio"] for one in same)), at.y(mean(one["error"] for one in same))))
    yield f'<path d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in means)}" fill="none" stroke="{colour}"/>'
    for x, y in means:
        yield dot(x, y, 4, colour, 1)


def dot(x: float, y: float, radius: float, colour: str, opacity: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="{opacity}"/>'


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222">{words}</text>'
