"""Timing in turns: what is compared meets the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Taken:
    """The 25th percentile of the milliseconds of a call: of CPU time of the whole process, and of the wall clock."""

    cpu: float
    wall: float


def in_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, Taken]:
    """Call all in turn, `rounds` times, each for a tenth of a second or once, and return what a call of each took."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            took[name] += turn(call)
    quarters = {name: 1e3 * np.percentile(np.array(times), 25, axis=0) for name, times in took.items()}
    return {name: Taken(round(float(cpu), 3), round(float(wall), 3)) for name, (cpu, wall) in quarters.items()}


def turn(call: Callable[[], object]) -> list[tuple[float, float]]:
    """Return the seconds of each call of one turn, of CPU time and of the wall clock."""
    found: list[tuple[float, float]] = []
    end = time.process_time() + TURN_SECONDS
    while not found or time.process_time() < end:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return found
