"""Telling whoever watches a run how far a long loop has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

# Seconds between two lines.
PAUSE = 2.0

T = TypeVar("T")


def silent(line: str) -> None:
    """Say nothing."""


def now_and_then(items: Iterable[T], what: str, say: Callable[[str], None], total: int | None = None) -> Iterator[T]:
    """Yield `items`; about every two seconds `say` is told of how many the loop has been through.

    Args:
        what: the lines begin with it.
        total: how many there are, where that is known.
    """
    told, of = time.perf_counter(), "" if total is None else f" of {total:,}"
    for done, item in enumerate(items):
        if time.perf_counter() - told >= PAUSE:
            told = time.perf_counter()
            say(f"      {what}: {done:,}{of}")
        yield item
