"""Which of how many processes this one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.distributed as dist

_ALONE: ContextVar[bool] = ContextVar("_ALONE", default=False)


def is_shared() -> bool:
    """Whether the work is shared: `torch.distributed` is initialized, with more than one process."""
    ready = dist.is_available() and dist.is_initialized()
    return ready and not _ALONE.get() and dist.get_world_size() > 1


def world() -> int:
    """Return how many processes share the work; 1 where it is not shared."""
    return dist.get_world_size() if is_shared() else 1


def rank() -> int:
    """Return the number of this process, from 0; 0 where the work is not shared."""
    return dist.get_rank() if is_shared() else 0


def is_first() -> bool:
    """Whether this process is the one that writes files and tells how far things have come."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Let this process work by itself within, whatever others there are: nothing is shared, nobody is waited for."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)
