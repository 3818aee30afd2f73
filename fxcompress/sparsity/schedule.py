"""How much is masked after each of several steps."""

from __future__ import annotations

from typing import Literal

from fxcompress.sparsity.patterns import KeepOf, Pattern

Schedule = Literal["linear", "cubic"]


def share_done(step: int, steps: int, schedule: Schedule) -> float:
    """Return which share of what goes is gone after `step` of `steps`, from above 0 to 1.

    `cubic` takes much at first and little at the end: Zhu, Gupta: To prune, or not to prune, 2017.
    """
    left = 1 - step / steps
    return 1 - left**3 if schedule == "cubic" else 1 - left


def pattern_at(pattern: Pattern, done: float) -> Pattern | None:
    """Return the pattern at a step: N:M begins by keeping more of M; None where it would keep all."""
    if not isinstance(pattern, KeepOf):
        return pattern
    keep = pattern.of - round((pattern.of - pattern.keep) * done)
    return KeepOf(keep, pattern.of) if keep < pattern.of else None
