"""Progress on stderr, of steps that take more than a second only."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import click

PATIENCE_SECONDS = 1.0


class Progress:
    """Called with a line when a step starts; prints it once the step has taken a second, and at the end its time.

    A context manager: leaving it ends the last step.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._timer: threading.Timer | None = None
        self._line = ""
        self._started = 0.0

    def __call__(self, line: str) -> None:
        self._finish()
        if self.quiet:
            return
        self._line, self._started = line, time.perf_counter()
        self._timer = threading.Timer(PATIENCE_SECONDS, click.echo, (f"{line} ...",), {"err": True})
        self._timer.daemon = True
        self._timer.start()

    def _finish(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        seconds = time.perf_counter() - self._started
        if seconds > PATIENCE_SECONDS:
            click.echo(f"{self._line}  {seconds:.1f} s", err=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()
