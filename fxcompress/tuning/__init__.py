"""Measuring, on the GPU at hand, how kernels are best cut, and writing it down as a table."""

from fxcompress.tuning.tasks import Task, tasks_for
from fxcompress.tuning.tune import Timer, tune

__all__ = ["Task", "Timer", "tasks_for", "tune"]
