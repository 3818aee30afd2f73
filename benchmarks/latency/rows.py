"""The rows of a run: a JSON file that is whole after every row, and tables."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from fxcompress.files import write_text
from fxcompress.reporting import processor

Row = dict[str, Any]
PACKAGES = (
    "fxcompress", "torch", "torchao", "torchvision", "transformers",
    "onnx", "onnxscript", "onnxruntime", "openvino", "nncf",
)  # fmt: skip
KEY = ("model", "batch", "threads", "contender")


class Rows:
    """What was measured, kept in a file where there is one.

    Args:
        path: of the file.
        resume: keep the rows that are in it and measure only the others.
    """

    def __init__(self, path: Path | None, resume: bool) -> None:
        self.path = path
        self.rows: list[Row] = json.loads(path.read_text())["rows"] if resume and path and path.exists() else []

    def has(self, row: Row) -> bool:
        """Whether what `row` names was measured before."""
        return any(key_of(one) == key_of(row) and one["status"] == "ok" for one in self.rows)

    def add(self, row: Row) -> None:
        """Take `row` in place of what was there for the same, and write the file."""
        self.rows = [one for one in self.rows if key_of(one) != key_of(row)] + [row]
        print(line(row), flush=True)
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = {"command": command(), "environment": environment(), "rows": self.rows}
            write_text(self.path, json.dumps(whole, indent=1) + "\n")


def key_of(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def command() -> str:
    """Return the command that is running, as it can be typed again."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(quoted, sys.argv[1:])])


def quoted(word: str) -> str:
    return f"'{word}'" if set(word) & set(" *?{}") else word


def environment() -> dict[str, str]:
    """Return the versions and the machine."""
    found = {"device": processor(), "cores": str(os.cpu_count()), "threads": str(torch.get_num_threads())}
    return found | dict(versions())


def versions() -> Iterable[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def line(row: Row) -> str:
    """Return `row` in a line."""
    place = f"{row['model']} batch {row['batch']} threads {row['threads']}: {row['contender']}"
    if row["status"] != "ok":
        return f"{place}: {row['status']}: {row['message']}"
    return f"{place}: {row['ratio']:.2f}x, {row['cpu_ms']:.2f} ms of {row['fp32_cpu_ms']:.2f}, " + (
        f"{shown(row['sqnr_db'])} dB, ready after {row['seconds']:.1f} s"
    )


def shown(decibels: float | None) -> str:
    return "exact" if decibels is None else f"{decibels:.1f}"


def tables(rows: Iterable[Row]) -> str:
    """Return a table for each model and number of threads, the fastest at the largest batch first."""
    sorts: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        sorts.setdefault((row["model"], row["threads"]), []).append(row)
    return "\n\n".join(f"{model}, threads {threads}\n\n{table(found)}" for (model, threads), found in sorts.items())


def table(rows: list[Row]) -> str:
    """Return the table of one model: a line for each contender, ratios for each batch."""
    sizes = sorted({row["batch"] for row in rows})
    found: dict[str, dict[int, Row]] = {}
    for row in rows:
        found.setdefault(row["contender"], {})[row["batch"]] = row
    order = sorted(found, key=lambda name: found[name].get(sizes[-1], {}).get("ratio", 0.0), reverse=True)
    cells = [[name, *(cell(found[name].get(size), "ratio") for size in sizes), *rest(found[name])] for name in order]
    headers = ["contender", *(f"batch {size}" for size in sizes), "SQNR dB", "seconds"]
    return tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True)


def rest(measured: dict[int, Row]) -> list[str]:
    """Return fidelity and seconds, of the largest batch, or why there are none."""
    row = measured[max(measured)]
    if row["status"] != "ok":
        return [row["status"], row["message"][:80]]
    return [shown(row["sqnr_db"]), f"{row['seconds']:.1f}"]


def cell(row: Row | None, name: str) -> str:
    return f"{row[name]:.2f}x" if row and row["status"] == "ok" else ""
