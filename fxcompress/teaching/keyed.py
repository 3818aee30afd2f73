"""A teacher that looks its answers up by the inputs of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fxcompress.capturing import Inputs, as_inputs
from fxcompress.errors import InputError
from fxcompress.teaching.digests import Index, numbered, sample_digests
from fxcompress.teaching.segments import Kept, Segment
from fxcompress.text import listing, plural


class KeyedTeacher:
    """Answers inputs that were captured, and refuses all others.

    Args:
        kept: how each answer is kept, by its name.
        batched: which of the values of a call hold a row for each sample.
        index: where the samples are.
        place: what the answers lie in, for messages.
        temperature: of the tails of logits whose names tell none.
    """

    def __init__(
        self, kept: Mapping[str, Kept], batched: tuple[bool, ...], index: Index, place: str, temperature: float
    ) -> None:
        self.names = tuple(kept)
        self.kept = dict(kept)
        self.batched = batched
        self.index = index
        self.place = place
        self.temperature = temperature
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        """Return how many different samples were captured."""
        return len(self.index)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each answer for one sample, the first that was captured."""
        return {name: tuple(self.tensor(0, name).shape[1:]) for name in self.names}

    def follow(self, device: torch.device) -> None:
        """Give answers on `device` from now on."""
        self.device = torch.device(device)

    def answers(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return a tensor for each of `names`, [samples, ...], for inputs in any order and in any batches.

        Raises:
            InputError: a sample was not captured, or its answers do not fit those of others in one batch.
            ArtifactError: what was captured is damaged.
        """
        places = self.index.find(sample_digests(as_inputs(inputs), self.batched))
        self._check(places)
        return {name: self._gathered(name, places).to(self.device, self.kept[name].dtype) for name in self.names}

    def tensor(self, segment: int, name: str) -> torch.Tensor:
        """Return the answers of a segment as they are stored, [samples, ...]; of the subclass."""
        raise NotImplementedError

    def _check(self, places: np.ndarray[Any, Any]) -> None:
        missing = np.flatnonzero(places[:, 0] < 0)
        if len(missing):
            which = listing([str(one) for one in missing], 4)
            raise InputError(
                f"the teacher did not see {plural(len(missing), 'sample')} of this batch of {len(places)} (at {which}):"
                f" not among the {len(self):,} samples in {self.place}",
                hint="inputs that are drawn or augmented anew are in no cache. Give the teacher those that were"
                " captured (for_student changes what the student sees), capture these too, or let the teacher run",
            )

    def _gathered(self, name: str, places: np.ndarray[Any, Any]) -> torch.Tensor:
        segments = np.unique(places[:, 0])
        found: torch.Tensor | None = None
        for segment in segments:
            held = self.tensor(int(segment), name)
            at = np.flatnonzero(places[:, 0] == segment)
            rows = held[torch.from_numpy(places[at, 1])]
            if len(segments) == 1:
                return rows
            if found is None:
                found = rows.new_empty((len(places), *rows.shape[1:]))
            if found.shape[1:] != rows.shape[1:]:
                shapes = f"{list(found.shape[1:])} and {list(rows.shape[1:])}"
                raise InputError(f"the answers {name!r} to samples of one batch have the shapes {shapes}")
            found[torch.from_numpy(at)] = rows
        return torch.empty(0) if found is None else found


class RememberedTeacher(KeyedTeacher):
    """Answers from memory."""

    def __init__(
        self, kept: Mapping[str, Kept], batched: tuple[bool, ...], segments: list[Segment], temperature: float
    ) -> None:
        self.segments = segments
        super().__init__(kept, batched, index_of(segments), "memory", temperature)

    def tensor(self, segment: int, name: str) -> torch.Tensor:
        return self.segments[segment].answers[name]


def index_of(segments: list[Segment]) -> Index:
    """Return the index of the samples of `segments`."""
    return Index(*numbered([one.digests for one in segments]))
