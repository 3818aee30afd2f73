"""Runs a script once for each model of the zoo, in processes of their own, and keeps a row of what each printed."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def parser(text: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that all scripts over the zoo have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--names", nargs="+", action="extend", default=[], help="globs of model names, with or without the library"
    )
    made.add_argument("--json", type=Path, help="write the results here, after every model")
    made.add_argument("--resume", action="store_true", help="keep what the JSON file holds, skip the names in it")
    made.add_argument("--timeout", type=float, default=900, help="seconds a model may take")
    made.add_argument("--jobs", type=int, default=1, help="models that run at a time")
    made.add_argument("--one", help=argparse.SUPPRESS)
    return made


def run_all(
    options: argparse.Namespace,
    names: Sequence[str],
    command: Callable[[str], list[str]],
    content: Callable[[list[Row]], Row],
) -> list[Row]:
    """Run the named models, and return a row for each, with those of the JSON file.

    Args:
        options: as `parser` gives them.
        command: gives what to start for a model.
        content: gives what the file holds of all rows, beside the environment and the rows.
    """
    rows: dict[str, Row] = {}
    if options.resume and options.json and options.json.exists():
        rows = {row["name"]: row for row in json.loads(options.json.read_text())["models"]}
    todo = [name for name in names if name not in rows]
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda name: in_process(command(name), name, options.timeout), todo):
            rows[row["name"]] = row
            print(
                f"{len(rows):4} {row['name']:40} {row['status']:8} {row.get('message', '')}",
                file=sys.stderr,
                flush=True,
            )
            if options.json:
                found = list(rows.values())
                write_whole(options.json, {**content(found), **environment(), "models": found})
    return [rows[name] for name in names]


def chosen(globs: Sequence[str]) -> list[str]:
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


def _wanted(name: str, globs: Sequence[str]) -> bool:
    bare = name.partition("/")[2]
    return not globs or any(fnmatch(name, glob) or fnmatch(bare, glob) for glob in globs)


def missing_packages() -> list[str]:
    """Return how to install what the zoo needs and is not there."""
    from zoo_models import INSTALL

    return [command for package, command in INSTALL.items() if importlib.util.find_spec(package) is None]


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


def output_of(module: Any, args: Any, kwargs: Any) -> Any:
    """Return what `module` gives, without gradients."""
    import torch

    with torch.no_grad():
        return module(*args, **kwargs)
