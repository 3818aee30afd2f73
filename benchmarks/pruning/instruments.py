"""What is measured around a pass: processor time, and the peak of Python's memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from fxcompress.pipeline.step import Step


class CpuSeconds:
    """Processor time of the pass, all threads together: on a busy machine it says more than the clock on the wall."""

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        start = time.process_time()
        yield
        step.measurements["cpu_seconds"] = time.process_time() - start


class PythonPeak:
    """Peak of the bytes that Python and numpy hold during the pass, above what stood before."""

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        tracemalloc.start()
        try:
            yield
            step.measurements["peak_bytes"] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
