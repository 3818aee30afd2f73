"""A diff as plain JSON values. The layout is versioned; equal diffs give equal values."""

from __future__ import annotations

from typing import Any

from fxcompress.inspect.entries import Comparison, Entry
from fxcompress.inspect.modules import Module, modules_of
from fxcompress.inspect.rows import Row, row_dict
from fxcompress.inspect.snapshot import Snapshot

FORMAT = "fxcompress-diff/1"


def diff_dict(diff: Comparison) -> dict[str, Any]:
    """Return the layout `fxcompress-diff/1`: totals, counts, names that changed, modules, and every row by its mark."""
    return {
        "format": FORMAT,
        "before": _totals(diff.before),
        "after": _totals(diff.after),
        "empty": diff.empty,
        "removed": diff.removed,
        "added": diff.added,
        "changed": diff.changed,
        "renamed": {
            "parameters": {a: b for a, b in diff.renaming.parameters.items() if a != b},
            "modules": {a: b for a, b in diff.renaming.scopes.items() if a != b},
        },
        "modules": [_module(module) for module in modules_of(diff).counts() if module.touched],
        "rows": [_entry(entry) for entry in diff.entries],
    }


def _totals(side: Snapshot) -> dict[str, Any]:
    return {"label": side.label, "nodes": side.nodes, "params": side.parameters, "bytes": side.bytes}


def _module(module: Module) -> dict[str, Any]:
    return {
        "path": module.path,
        "removed": module.removed,
        "added": module.added,
        "changed": module.changed,
        **dict(zip(("params_before", "bytes_before"), module.before, strict=True)),
        **dict(zip(("params_after", "bytes_after"), module.after, strict=True)),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    """Return a row that did not change by its names, any other in full."""
    if entry.mark == "=":
        names = {side: row.name for side, row in (("before", entry.before), ("after", entry.after)) if row}
        return {"mark": "=", **names, **({"moved": True} if entry.moved else {})}
    return {
        "mark": entry.mark,
        "before": _row(entry.before),
        "after": _row(entry.after),
        "cells": list(entry.changed),
        "moved": entry.moved,
    }


def _row(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else row_dict(row)
