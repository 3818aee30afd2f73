"""A report as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fxcompress.inspect.diff import GraphDiff
from fxcompress.inspect.figures import Figures

FORMAT = "fxcompress-report/1"


def report_dict(report: Figures) -> dict[str, Any]:
    """Return the layout `fxcompress-report/1`: the fields, with ratios and the order of what layers lose."""
    made = {"format": FORMAT, **_plain(report)}
    for measurement, found in zip(report.measurements, made["measurements"], strict=True):
        found["ratio"] = _plain(measurement.ratio)
    made["worst_layers"] = [row.name for row in report.worst_layers.rows]
    return made


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, GraphDiff):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
