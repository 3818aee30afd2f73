"""Runs a teacher over data and keeps its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fxcompress.capturing import Inputs
from fxcompress.errors import PassFailed
from fxcompress.graph.types import type_text
from fxcompress.teaching.digests import sample_digests
from fxcompress.teaching.keyed import KeyedTeacher
from fxcompress.teaching.segments import Kept, Segment
from fxcompress.teaching.sinks import Sink
from fxcompress.teaching.teacher import Teacher

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


def capture_answers(
    teacher: Teacher,
    batches: Iterable[Inputs],
    sink: Sink,
    kept: Mapping[str, Kept],
    batched: tuple[bool, ...],
    say: Callable[[str], None] = lambda line: None,
) -> tuple[KeyedTeacher, Tally]:
    """Put the answers of `teacher` to the samples of `batches` into `sink`; return who answers from there.

    A sample that was seen before is not answered again.

    Args:
        kept: in which dtypes the answers are stored.
        batched: which of the values of a call hold a row for each sample.
        say: is given a line every now and then.

    Raises:
        PassFailed: an answer has no row for each sample.
        InputError: the batches are not all of one structure.
    """
    tally, told = Tally(), time.perf_counter()
    try:
        for batch in batches:
            digests = sample_digests(batch, batched)
            fresh = _fresh(digests, sink.known)
            if len(fresh):
                segment = _segment(_own(teacher.answers(batch), batch), kept, digests, fresh, tally.samples)
                sink.put(segment)
                tally.bytes += segment.bytes
            tally.samples, tally.answered = tally.samples + len(digests), tally.answered + len(fresh)
            tally.seconds = time.perf_counter() - tally.began
            if time.perf_counter() - told > PAUSE:
                told = time.perf_counter()
                say(str(tally))
        found = sink.close(tally.samples)
        tally.seconds = time.perf_counter() - tally.began
        return found, tally
    finally:
        sink.stop()


def _fresh(digests: np.ndarray[Any, Any], known: set[bytes]) -> np.ndarray[Any, Any]:
    """Return the places of the samples that are not known, each once, and make them known."""
    found = []
    for place, digest in enumerate(map(bytes, digests)):
        if digest not in known:
            known.add(digest)
            found.append(place)
    return np.array(found, dtype=np.int64)


def _own(answers: Mapping[str, torch.Tensor], batch: Inputs) -> dict[str, torch.Tensor]:
    """Return answers that lie in memory of their own: not in that of the inputs, nor in more than they need."""
    given = {tensor.untyped_storage().data_ptr() for tensor in batch.tensors()}
    return {name: answer.clone() if _held(answer, given) else answer for name, answer in answers.items()}


def _held(answer: torch.Tensor, given: set[int]) -> bool:
    storage = answer.untyped_storage()
    return storage.data_ptr() in given or storage.nbytes() > answer.numel() * answer.element_size()


def _segment(
    answers: Mapping[str, torch.Tensor],
    kept: Mapping[str, Kept],
    digests: np.ndarray[Any, Any],
    fresh: np.ndarray[Any, Any],
    first: int,
) -> Segment:
    """Return what is stored of the answers to a batch whose first sample is number `first`."""
    stored = {}
    for name, answer in answers.items():
        if answer.dim() == 0 or len(answer) != len(digests):
            raise PassFailed(
                f"{name!r} gives {type_text(answer)} for a batch of {len(digests)}: it has no row for each sample",
                hint="tap another value, or name the parts of the result that have one",
            )
        rows = answer if len(fresh) == len(digests) else answer[torch.from_numpy(fresh).to(answer.device)]
        stored[name] = rows.detach().to("cpu", kept[name].stored).contiguous()
    return Segment(digests[fresh], fresh + first, stored)
