"""Answers of a teacher as they are kept: runs of samples whose answers have the same shapes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Segment:
    """Samples whose answers have the same shapes.

    Attributes:
        digests: of their inputs, uint8 [samples, 16].
        ids: their positions in the capture, int64 [samples].
        answers: [samples, ...] on the CPU, by name.
    """

    digests: np.ndarray[Any, Any]
    ids: np.ndarray[Any, Any]
    answers: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """Bytes of the answers."""
        return sum(answer.numel() * answer.element_size() for answer in self.answers.values())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the answers to one sample."""
        return {name: tuple(answer.shape[1:]) for name, answer in self.answers.items()}


def joined(segments: Iterable[Segment]) -> list[Segment]:
    """Return the samples of `segments` in as few, in the same order."""
    return [_one(run) for run in alike(segments)]


def alike(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Return runs of `segments` whose answers have the same shapes."""
    return [[*run] for _, run in groupby(segments, key=Segment.shapes)]


def _one(run: list[Segment]) -> Segment:
    if len(run) == 1:
        return run[0]
    answers = {name: torch.cat([one.answers[name] for one in run]) for name in run[0].answers}
    return Segment(np.concatenate([one.digests for one in run]), np.concatenate([one.ids for one in run]), answers)


@dataclass(frozen=True)
class Kept:
    """How an answer is kept.

    Attributes:
        dtype: of the answer as the teacher gives it.
        stored: in which it is kept.
    """

    dtype: torch.dtype
    stored: torch.dtype
