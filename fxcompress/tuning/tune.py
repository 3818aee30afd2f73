"""The tuner: one product after the other, what is found written down at once, so that it goes on after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from fxcompress.errors import UsageError
from fxcompress.files import write_text
from fxcompress.kernels.gpu.configurations import DEQUANTIZE_FROM, GATED, WEIGHT_ONLY
from fxcompress.kernels.gpu.table_files import Capability, Config, Row, Table, table_name
from fxcompress.tuning.operands import start_of
from fxcompress.tuning.search import climb, fits
from fxcompress.tuning.tasks import Task

FORMAT = "fxcompress-tuning/1"


class Timer(Protocol):
    """What measures: the GPU at hand, or in tests an invention."""

    @property
    def device(self) -> str:
        """The name of the GPU."""

    @property
    def capability(self) -> Capability: ...

    def kernel(self, task: Task, config: Config) -> float:
        """Return the microseconds of a product, endless where it cannot be run so."""

    def dequantized(self, task: Task) -> float:
        """Return the microseconds of making floats of the weight of a task and multiplying by them."""


@dataclass(frozen=True)
class Found:
    """What was measured of a task: the best configuration, its time, and that of a dense product, where asked for."""

    config: Config
    microseconds: float
    dequantized: float = math.inf


class Record:
    """What was found so far, in a file of its own beside the table."""

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.device = path, device
        self.found: dict[Task, Found] = {}
        if path.is_file():
            self._read()

    def _read(self) -> None:
        try:
            read = json.loads(self.path.read_text(encoding="utf-8"))
            entries = read["found"] if (read["format"], read["device"]) == (FORMAT, self.device) else None
            for task, config, *times in entries or []:
                self.found[Task(**task)] = Found(Config(**config), *(math.inf if at is None else at for at in times))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.path} is no record of tuning: {error!r}", hint="remove it") from error
        if entries is None:
            raise UsageError(f"{self.path} is of another GPU than {self.device}", hint="remove it, or name a folder")

    def add(self, task: Task, found: Found) -> None:
        self.found[task] = found
        entries = [
            [asdict(task), asdict(one.config), *(None if math.isinf(at) else at for at in _times(one))]
            for task, one in self.found.items()
        ]
        write_text(self.path, json.dumps({"format": FORMAT, "device": self.device, "found": entries}) + "\n")


def _times(found: Found) -> tuple[float, float]:
    return found.microseconds, found.dequantized


def tune(tasks: Sequence[Task], timer: Timer, folder: Path, say: Callable[[str], None]) -> Path:
    """Measure `tasks` and write the table for the GPU of `timer` into `folder`; return its path.

    What a run that was killed had found is not measured again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / table_name(timer.capability)
    record = Record(path.with_suffix(".partial.json"), timer.device)
    for place, task in enumerate(tasks, 1):
        if task in record.found:
            continue
        say(f"{place} of {len(tasks)}: {task}")
        record.add(task, measured(task, timer))
    table_of({task: record.found[task] for task in tasks}, timer.device).write(path)
    record.path.unlink(missing_ok=True)
    return path


def measured(task: Task, timer: Timer) -> Found:
    """Return the best configuration of a task that is found, and its time."""
    start = start_of(task, timer.capability)
    config, took = climb(
        start, lambda one: one == start or fits(task, one, timer.capability), lambda one: timer.kernel(task, one)
    )
    asked = task.kernel in (*WEIGHT_ONLY.values(), *GATED.values())
    return Found(config, took, timer.dequantized(task) if asked else math.inf)


def table_of(found: dict[Task, Found], device: str) -> Table:
    """Return what was found as a table; a product that could not be run at all is left to the estimate."""
    rows: dict[str, list[Row]] = {}
    for task in sorted(found):
        if not math.isinf(found[task].microseconds):
            row = Row(task.m, task.n, task.k, task.group, found[task].config)
            rows.setdefault(task.kernel, []).append(row)
    turns = {name: dequantize_from(name, found) for name in (*WEIGHT_ONLY.values(), *GATED.values()) if name in rows}
    return Table(device, True, turns, rows)


def dequantize_from(kernel: str, found: dict[Task, Found]) -> int:
    """Return from how many rows on making floats of the weight first takes less time, over all products in sum."""
    sums: dict[int, list[float]] = {}
    for task, one in found.items():
        if task.kernel == kernel:
            sums.setdefault(task.m, []).append(math.log(one.microseconds / one.dequantized))
    slower = [m for m, ratios in sorted(sums.items()) if sum(ratios) > 0]
    faster = [m for m, ratios in sums.items() if sum(ratios) <= 0]
    if not sums:
        return DEQUANTIZE_FROM
    # What is faster at more rows than a slower one is noise.
    last = max((m for m in faster if not slower or m < slower[0]), default=0)
    return last + 1 if slower else max(last + 1, DEQUANTIZE_FROM)
