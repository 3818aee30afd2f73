"""The instruments that stand around the steps of every run; Verify has a file of its own."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fxcompress.contract import statistics_of
from fxcompress.graph.fingerprint import graph_digest, tensor_digests
from fxcompress.graph.module import CapturedModule
from fxcompress.inspect import Snapshot, diff_snapshots, snapshot
from fxcompress.pipeline.step import Step


class Timing:
    """Seconds in the pass itself; stands innermost."""

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        started = time.perf_counter()
        yield
        step.seconds = time.perf_counter() - started


class Statistics:
    """Every declared statistic is there, 0 where the pass counted nothing."""

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        yield
        for name in statistics_of(type(step.running)):
            step.context.statistics.setdefault(name, 0)


class Fingerprints:
    """Whether graph or tensors are others after the step, by their digests and not by the pass's word."""

    def __init__(self) -> None:
        self.last: tuple[str, dict[str, str]] | None = None

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        before = self.last or (graph_digest(step.module), step.digests or tensor_digests(step.module))
        yield
        step.digests = tensor_digests(step.module)
        self.last = (graph_digest(step.module), step.digests)
        step.changed = self.last != before


class Diffs:
    """What the step changed in the graph.

    Stands outside Fingerprints, which know whether it changed at all, and outside Verify, which renews the types.
    """

    def __init__(self, label: str = "capture") -> None:
        self.label = label
        self.last: Snapshot | None = None

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        if self.last is None:
            step.digests = tensor_digests(step.module)
        before = self.last or snapshot(step.module, self.label, digests=step.digests)
        yield
        if step.changed:
            self.last = snapshot(step.module, step.text, digests=step.digests)
        else:
            self.last = replace(before, label=step.text)
        step.diff = diff_snapshots(before, self.last)


class Snapshots:
    """Writes the graph before the first and after every step into a folder, as text: `0-capture.txt`, `1-prune.txt`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        if step.index == 0:
            self._write("0-capture", step.module)
        yield
        self._write(f"{step.index + 1}-{step.running.name}", step.module)

    def _write(self, name: str, module: CapturedModule) -> None:
        (self.folder / f"{name}.txt").write_text(str(snapshot(module, name)) + "\n", encoding="utf-8")


class Progress:
    """Says which pass runs, through a callable that is given a line of text."""

    def __init__(self, count: int, say: Callable[[str], None]) -> None:
        self.count = count
        self.say = say

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        self.say(f"[{step.index + 1}/{self.count}] {step.text}")
        yield


class Reproducer:
    """Where a step fails, leaves a folder with the graph just before it, and that pass alone.

    Args:
        folder: made when a step fails, not before; what stood there of an earlier failure is replaced.
        save: writes an artifact: `save(path, module, pipeline=..., inputs=...)`.
    """

    def __init__(self, folder: Path, save: Callable[..., None]) -> None:
        self.folder = folder
        self.save = save

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        before = copy.deepcopy(step.module)
        try:
            yield
        except BaseException as error:
            self._write(step, before, error)
            raise

    def _write(self, step: Step, before: CapturedModule, error: BaseException) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.save(self.folder / "before.fxc", before, pipeline="", inputs=step.context.inputs)
        (self.folder / "pipeline.txt").write_text(f"{step.text}\n", encoding="utf-8")
        (self.folder / "seed.txt").write_text(f"{step.context.seed}\n", encoding="utf-8")
        trace = "".join(traceback.format_exception(error))
        (self.folder / "error.txt").write_text(trace, encoding="utf-8")
