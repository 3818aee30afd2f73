"""`fxcompress.diff`: what is different between two of anything that holds a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule

from fxcompress.capturing import Captured
from fxcompress.compiler import Result
from fxcompress.errors import UsageError
from fxcompress.graph.module import CapturedModule
from fxcompress.inspect import GraphDiff, diff_snapshots, snapshot
from fxcompress.targets import Artifact, load_artifact


def diff(a: Any, b: Any, *, labels: tuple[str, str] | None = None) -> GraphDiff:
    """Return what changed from `a` to `b`.

    Args:
        a, b: modules that were captured, captures, results, loaded artifacts, or paths of artifacts.
        labels: how the two are called; by default what is known of them.

    Raises:
        UsageError: one of them holds no graph.
        ArtifactError: a file does not load.
    """
    names = labels or (label(a, "before"), label(b, "after"))
    return diff_snapshots(*(snapshot(graph_of(side), name) for side, name in zip((a, b), names, strict=True)))


def graph_of(side: Any) -> GraphModule:
    """Return the graph module that `side` holds."""
    if isinstance(side, str | Path):
        side = load_artifact(side)
    if isinstance(side, Captured | Result | Artifact):
        return side.module
    if isinstance(side, GraphModule):
        if isinstance(side, CapturedModule):
            return side
        raise UsageError("this GraphModule was not made by fxcompress", hint="capture it: fxc.capture(module, inputs)")
    what = type(side).__name__
    hint = "capture it first: fxc.capture(model, inputs)" if isinstance(side, torch.nn.Module) else None
    raise UsageError(f"a {what} holds no graph to compare", hint=hint)


def label(side: Any, default: str) -> str:
    """Return a short name for one side of a diff."""
    if isinstance(side, str | Path):
        return str(side)
    if isinstance(side, Captured):
        return "capture"
    if isinstance(side, Result | Artifact) and str(side.pipeline):
        return str(side.pipeline)
    return default
