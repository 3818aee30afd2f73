"""How far a training run has come: all that it takes to go on from there."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: epochs that are done.
        batch: batches that are done in the epoch under way.
        loss: sum of the losses of these batches.
        losses: the mean loss of each epoch that is done.
        scores: what `evaluate` said at the end of each.
        steps: steps of the optimizer in all.
        finished: whether the run came to its end.
    """

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    steps: int = 0
    finished: bool = False

    @property
    def best(self) -> int | None:
        """The epoch, counted from 0, with the first of the highest scores; None where there is none."""
        known = [score for score in self.scores if score == score]
        return self.scores.index(max(known)) if known else None

    @property
    def stale(self) -> int:
        """How many epochs have passed since the best one."""
        return len(self.scores) - 1 - (-1 if self.best is None else self.best)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
