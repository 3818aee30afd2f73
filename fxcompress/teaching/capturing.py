"""Runs a teacher over data and keeps its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fxcompress.capturing import Inputs
from fxcompress.distributed import together
from fxcompress.errors import PassFailed
from fxcompress.graph.types import type_text
from fxcompress.teaching.digests import sample_digests
from fxcompress.teaching.keyed import KeyedTeacher
from fxcompress.teaching.manifest import Manifest
from fxcompress.teaching.segments import Kept, Segment
from fxcompress.teaching.sinks import Sink
from fxcompress.teaching.teacher import Teacher
from fxcompress.teaching.turns import in_turns

# Seconds between two lines of progress.
PAUSE = 2.0


@dataclass
class Tally:
    """How much was captured.

    Attributes:
        samples: that were seen.
        answered: that the teacher ran for; the others were there already, or are identical to one.
        bytes: of the answers as they are stored.
        seconds: from the first batch to the last.
    """

    samples: int = 0
    answered: int = 0
    bytes: int = 0
    seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / max(self.seconds, 1e-9)

    @property
    def bytes_a_sample(self) -> float:
        return self.bytes / max(self.answered, 1)

    def __str__(self) -> str:
        return f"{self.samples:,} samples, {self.rate:,.0f} a second, {self.bytes_a_sample:,.0f} bytes each"


@dataclass(frozen=True)
class Answered:
    """The answers to a batch.

    Attributes:
        digests: of its samples, uint8 [samples, 16].
        fresh: places of the samples that were not known, each once, int64 [fresh].
        answers: to these, [fresh, ...] by name, as they are stored.
    """

    digests: np.ndarray[Any, Any]
    fresh: np.ndarray[Any, Any]
    answers: dict[str, torch.Tensor]

    def segment(self, known: set[bytes], first: int) -> Segment | None:
        """Return what is not known by now and make it known; None where that is nothing.

        Args:
            first: the number of the first sample of the batch.
        """
        fresh = _fresh(self.digests, known)
        known.update(map(bytes, self.digests[fresh]))
        if not len(fresh):
            return None
        answers = self.answers
        if len(fresh) < len(self.fresh):
            kept = torch.from_numpy(np.flatnonzero(np.isin(self.fresh, fresh)))
            answers = {name: answer[kept] for name, answer in answers.items()}
        return Segment(self.digests[fresh], fresh + first, answers)


def capture_answers(
    teacher: Teacher,
    batches: Iterable[Inputs],
    sink: Sink,
    manifest: Manifest,
    say: Callable[[str], None] = lambda line: None,
    *,
    sharded: bool = False,
) -> tuple[KeyedTeacher, Tally]:
    """Put the answers of `teacher` to the samples of `batches` into `sink`; return who answers from there.

    A sample that was seen before is not answered again. Several processes answer in turns.

    Args:
        manifest: in which dtypes the answers are stored, and which of the inputs hold a row for each sample.
        say: is given a line every now and then.
        sharded: whether each process has batches of its own.

    Raises:
        PassFailed: an answer has no row for each sample.
        InputError: the batches are not all of one structure.
    """
    tally, told = Tally(), time.perf_counter()
    try:
        for row in in_turns(batches, sharded, lambda batch: _answered(teacher, batch, sink.known, manifest)):
            with together():
                for piece in row:
                    _take(piece, sink, tally)
            if time.perf_counter() - told > PAUSE:
                told = time.perf_counter()
                say(str(tally))
        found = sink.close(tally.samples)
        tally.seconds = time.perf_counter() - tally.began
        return found, tally
    finally:
        sink.stop()


def _answered(teacher: Teacher, batch: Inputs, known: set[bytes], manifest: Manifest) -> Answered:
    """Return the answers to the samples of a batch that are not known; the teacher is given the batch whole."""
    digests = sample_digests(batch, manifest.batched)
    fresh = _fresh(digests, known)
    if not len(fresh):
        return Answered(digests, fresh, {})
    answers = _own(teacher.answers(batch), batch)
    return Answered(digests, fresh, _stored(answers, manifest.kept, fresh, len(digests)))


def _take(piece: Answered, sink: Sink, tally: Tally) -> None:
    segment = piece.segment(sink.known, tally.samples)
    if segment is not None:
        sink.put(segment)
        tally.answered, tally.bytes = tally.answered + len(segment), tally.bytes + segment.bytes
    tally.samples += len(piece.digests)
    tally.seconds = time.perf_counter() - tally.began


def _fresh(digests: np.ndarray[Any, Any], known: set[bytes]) -> np.ndarray[Any, Any]:
    """Return the places of the samples that are not known, each once."""
    found: dict[bytes, int] = {}
    for place, digest in enumerate(map(bytes, digests)):
        if digest not in known:
            found.setdefault(digest, place)
    return np.array(list(found.values()), dtype=np.int64)


def _own(answers: Mapping[str, torch.Tensor], batch: Inputs) -> dict[str, torch.Tensor]:
    """Return answers that lie in memory of their own: not in that of the inputs, nor in more than they need."""
    given = {tensor.untyped_storage().data_ptr() for tensor in batch.tensors()}
    return {name: answer.clone() if _held(answer, given) else answer for name, answer in answers.items()}


def _held(answer: torch.Tensor, given: set[int]) -> bool:
    storage = answer.untyped_storage()
    return storage.data_ptr() in given or storage.nbytes() > answer.numel() * answer.element_size()


def _stored(
    answers: Mapping[str, torch.Tensor], kept: Mapping[str, Kept], fresh: np.ndarray[Any, Any], count: int
) -> dict[str, torch.Tensor]:
    """Return what is stored of the answers to a batch of `count` samples: the rows `fresh`, on the CPU."""
    stored = {}
    for name, answer in answers.items():
        if answer.dim() == 0 or len(answer) != count:
            raise PassFailed(
                f"{name!r} gives {type_text(answer)} for a batch of {count}: it has no row for each sample",
                hint="tap another value, or name the parts of the result that have one",
            )
        rows = answer if len(fresh) == count else answer[torch.from_numpy(fresh).to(answer.device)]
        stored[name] = rows.detach().to("cpu", kept[name].stored).contiguous()
    return stored
