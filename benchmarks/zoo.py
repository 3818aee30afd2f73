"""Runs capture, and any pipeline, over the zoo; each model in a process of its own, with a timeout.

    python benchmarks/zoo.py --names 'resnet*' bert --json results.json
    python benchmarks/zoo.py --pipeline fold-bn --resume --json results.json

The relative error is ||got - want|| / ||want|| over all output tensors in float32, `want` from the original model;
`error` at the batch size of the example (2), `error_other` at another one (3) where the batch is dynamic. A model is
ok where both are below 1e-4; with a pipeline, where they are finite.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

LARGEST_ERROR = 1e-4
Row = dict[str, Any]


def main() -> int:
    options = _options()
    if options.one:
        print(json.dumps(run_one(options.one, options.pipeline)))
        return 0
    from tabulate import tabulate

    rows = run_all(options)
    print(tabulate([_cells(row) for row in rows], headers=HEADERS))
    print(summary(rows))
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--names", nargs="+", action="extend", default=[], help="globs of model names, with or without the library"
    )
    parser.add_argument("--pipeline", default="", help="pipeline to run on what was captured")
    parser.add_argument("--json", type=Path, help="write the results here, after every model")
    parser.add_argument("--resume", action="store_true", help="keep what the JSON file holds, skip the names in it")
    parser.add_argument("--timeout", type=float, default=900, help="seconds a model may take")
    parser.add_argument("--jobs", type=int, default=1, help="models that run at a time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_all(options: argparse.Namespace) -> list[Row]:
    """Run the chosen models in processes of their own; return a row for each, with those of the JSON file."""
    names = chosen(options.names)
    rows: dict[str, Row] = {}
    if options.resume and options.json and options.json.exists():
        rows = {row["name"]: row for row in json.loads(options.json.read_text())["models"]}
    todo = [name for name in names if name not in rows]
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda name: in_process(_command(name, options.pipeline), name, options.timeout), todo):
            rows[row["name"]] = row
            print(
                f"{len(rows):4} {row['name']:36} {row['status']:8} {row.get('message', '')}",
                file=sys.stderr,
                flush=True,
            )
            if options.json:
                _write(options.json, options.pipeline, list(rows.values()))
    return [rows[name] for name in rows if _wanted(name, options.names)]


def chosen(globs: list[str]) -> list[str]:
    """Return the names of the models that `globs` mean; end the program where packages or models are missing."""
    missing = missing_packages()
    if missing:
        sys.exit("the zoo needs packages that are not installed:\n" + "\n".join(f"  {line}" for line in missing))
    from zoo_models import entries

    known = [entry.name for entry in entries()]
    for glob in globs:
        if not any(_wanted(name, [glob]) for name in known):
            from fxcompress.text import suggestion

            bare = [name.partition("/")[2] for name in known]
            sys.exit(f"--names {glob!r} matches no model\n  hint: {suggestion(glob, bare)}")
    return [name for name in known if _wanted(name, globs)]


def _wanted(name: str, globs: list[str]) -> bool:
    bare = name.partition("/")[2]
    return not globs or any(fnmatch(name, glob) or fnmatch(bare, glob) for glob in globs)


def missing_packages() -> list[str]:
    """Return how to install what the zoo needs and is not there."""
    from zoo_models import INSTALL

    return [command for package, command in INSTALL.items() if importlib.util.find_spec(package) is None]


def _command(name: str, pipeline: str) -> list[str]:
    return [sys.executable, "-W", "ignore", __file__, "--one", name, "--pipeline", pipeline]


def in_process(command: list[str], name: str, timeout: float) -> Row:
    """Run one model in a process of its own, whose memory is free afterwards; it prints its row as JSON at the end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"name": name, "status": "timeout", "message": f"longer than {timeout:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"name": name, "status": "died", "message": last[:300]}
    row: Row = json.loads(lines[-1])
    return row


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


def output_of(module: Any, args: Any, kwargs: Any) -> Any:
    import torch

    with torch.no_grad():
        return module(*args, **kwargs)


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


def _write(path: Path, pipeline: str, rows: list[Row]) -> None:
    write_whole(path, {"summary": summary(rows), "pipeline": pipeline, **environment(), "models": rows})


def environment() -> Row:
    """Return what a result was measured with."""
    import torch

    return {"torch": torch.__version__, "device": "cpu", "cpu": _cpu(), "cores": os.cpu_count()}


def write_whole(path: Path, content: Row) -> None:
    """Write JSON in one step, so that a file is never half written."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, suffix=".json") as file:
        json.dump(content, file, indent=1)
    os.replace(file.name, path)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
