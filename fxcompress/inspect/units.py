"""Figures for people: `1.2 MB`, `3.4 ms ± 0.1`, `12.3 M`. Decimal prefixes throughout."""

from __future__ import annotations

import math
from typing import Literal

Unit = Literal["count", "bytes", "macs", "seconds", "dB", "ratio", "score"]

_NAMES = {"bytes": "B", "seconds": "s", "macs": "", "count": ""}
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
NOTHING = "-"


def quantity(value: float | None, unit: Unit, spread: float | None = None) -> str:
    """Return a figure with its unit, and half its spread where one is given; `-` where there is none."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "exact" if unit == "dB" and value > 0 else str(value)
    if unit == "dB":
        return f"{value:.1f} dB"
    if unit in ("ratio", "score"):
        return f"{value:.4g}" + (f" ± {spread:.2g}" if spread else "")
    if unit == "count" and abs(value) < 1e6:
        return f"{value:,.0f}"
    scale, prefix = _scale(value, unit)
    digits = _digits(value / scale) if scale != 1 or unit == "seconds" else 0
    name = f"{prefix}{_NAMES[unit]}"
    text = f"{value / scale:,.{digits}f}" + (f" ± {spread / scale:.{digits}f}" if spread else "")
    return f"{text} {name}".rstrip()


def _scale(value: float, unit: Unit) -> tuple[float, str]:
    """Return the largest prefix that leaves at least one before the point, once the figure is rounded."""
    scales = _SMALL if unit == "seconds" else _LARGE
    smallest = scales[-1] if value and unit == "seconds" else (1.0, "")
    return next(((scale, prefix) for scale, prefix in scales if abs(value) >= 0.9995 * scale), smallest)


def _digits(value: float) -> int:
    """Return the decimals that leave three figures."""
    return 0 if value == 0 or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2


def ratio(before: float | None, after: float | None) -> float | None:
    """Return after / before, None where that says nothing."""
    if before is None or after is None or not before or not (math.isfinite(before) and math.isfinite(after)):
        return None
    return after / before


def ratio_text(before: float | None, after: float | None) -> str:
    """Return the ratio with three figures, `-` where there is none."""
    found = ratio(before, after)
    return NOTHING if found is None else f"{found:.3f}" if found < 9.9995 else f"{found:,.1f}"
