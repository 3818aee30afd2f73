"""Runs capture, and any pipeline, over the zoo; each model in a process of its own, with a timeout.

    python benchmarks/zoo.py --names 'resnet*' bert --json results.json
    python benchmarks/zoo.py --pipeline fold-bn --resume --json results.json

The relative error is ||got - want|| / ||want|| over all output tensors in float32, `want` from the original model;
`error` at the batch size of the example (2), `error_other` at another one (3) where the batch is dynamic. A model is
ok where both are below 1e-4; with a pipeline, where they are finite.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from typing import Any

from zoo_running import Row, chosen, output_of, parser, run_all

LARGEST_ERROR = 1e-4


def main() -> int:
    options = _options()
    if options.one:
        print(json.dumps(run_one(options.one, options.pipeline)))
        return 0
    from tabulate import tabulate

    rows = run_all(
        options,
        chosen(options.names),
        lambda name: _command(name, options.pipeline),
        lambda rows: {"summary": summary(rows), "pipeline": options.pipeline},
    )
    print(tabulate([_cells(row) for row in rows], headers=HEADERS))
    print(summary(rows))
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--pipeline", default="", help="pipeline to run on what was captured")
    return made.parse_args()


def _command(name: str, pipeline: str) -> list[str]:
    return [sys.executable, "-W", "ignore", __file__, "--one", name, "--pipeline", pipeline]


def run_one(name: str, pipeline: str) -> Row:
    """Capture one model, run the pipeline, compare with the original; return what came out."""
    import torch
    from zoo_models import entries, import_torchvision

    import fxcompress

    entry = next(entry for entry in entries() if entry.name == name)
    import_torchvision()
    torch.manual_seed(0)
    model = entry.build().eval()
    row: Row = {"name": name, "library": entry.library}
    args, kwargs = entry.inputs(2)
    want = output_of(model, args, kwargs)
    try:
        inputs = fxcompress.Inputs(*args, **kwargs)
        start, busy = time.perf_counter(), time.process_time()
        captured = fxcompress.capture(model, inputs)
        row |= {"seconds": round(time.perf_counter() - start, 2), "cpu_seconds": round(time.process_time() - busy, 2)}
        row["nodes"] = len(captured.module.graph.nodes)
        row |= {"dynamic": captured.dynamic, "notes": list(captured.notes)}
        module: Any = captured.module
        if pipeline:
            module = fxcompress.compress(captured, inputs, pipeline).module
        row["error"] = relative_error(output_of(module, args, kwargs), want)
        if captured.dynamic:
            args, kwargs = entry.inputs(3)
            row["error_other"] = relative_error(output_of(module, args, kwargs), output_of(model, args, kwargs))
    except Exception as error:
        return row | {"status": "failed", "message": f"{type(error).__name__}: {error}"[:1000]}
    largest = max(row["error"], row.get("error_other", 0.0))
    right = largest < LARGEST_ERROR or (bool(pipeline) and math.isfinite(largest))
    return row | {"status": "ok" if right else "wrong"}


def relative_error(got: Any, want: Any) -> float:
    """Return ||got - want|| / ||want|| over all tensors of two results of one structure; infinite where not finite."""
    import torch
    from torch.utils import _pytree as pytree

    if pytree.tree_structure(got) != pytree.tree_structure(want):
        return float("inf")
    difference = reference = 0.0
    for one, other in zip(_tensors(got), _tensors(want), strict=True):
        one, other = one.to(torch.float64), other.to(torch.float64)
        difference += float((one - other).square().sum())
        reference += float(other.square().sum())
    error = (difference / reference) ** 0.5 if reference else difference**0.5
    return error if error == error else float("inf")


def _tensors(value: Any) -> list[Any]:
    import torch
    from torch.utils import _pytree as pytree

    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


HEADERS = ("model", "status", "nodes", "capture s", "error", "error other batch", "dynamic")


def _cells(row: Row) -> list[Any]:
    errors = [f"{row[key]:.1e}" if key in row else "" for key in ("error", "error_other")]
    dynamic = "yes" if row.get("dynamic") else "no"
    return [row["name"], row["status"], row.get("nodes", ""), row.get("seconds", ""), *errors, dynamic]


def summary(rows: list[Row]) -> str:
    """Return a line with the counts and the seconds of capture."""
    good = [row for row in rows if row["status"] == "ok"]
    seconds = [row["seconds"] for row in good] or [0.0]
    dynamic = sum(bool(row.get("dynamic")) for row in good)
    return (
        f"{len(good)} of {len(rows)} captured, {dynamic} with a dynamic batch; "
        f"capture takes {statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (maximum)"
    )


if __name__ == "__main__":
    sys.exit(main())
