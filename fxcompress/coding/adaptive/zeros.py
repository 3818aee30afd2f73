"""The model of where a matrix is not zero.

The matrix is coded step by step, and a step in chunks of lanes. Of a bit these are known: how often its lane was not
zero, and lately; how often its step was so far, and the steps beside it; and its neighbours in the steps before. A
`pitch` says which step before is a neighbour too: 28 where the steps are the pixels of rows of 28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fxcompress.coding.adaptive.binary import Bits
from fxcompress.coding.adaptive.logits import ONE, Whole, logit_of, logits_of
from fxcompress.coding.adaptive.mixer import Mixer

_LANE_DOUBT, _STEP_DOUBT = 3, 6
_PATTERNS = 64


@dataclass(frozen=True)
class Walk:
    """The order in which a matrix is coded.

    Attributes:
        steps, lanes: the sizes of the matrix.
        pitch: the distance to the step that is a neighbour besides the last, 0 for none.
        chunk: lanes that are coded at once.
    """

    steps: int
    lanes: int
    pitch: int
    chunk: int


def code_zeros(bits: Bits, walk: Walk, marks: Whole) -> None:
    """Code which elements of a matrix are not zero.

    Args:
        bits: to code with.
        walk: the order.
        marks: i64[steps, lanes], 1 where not zero; filled where it is decoded.
    """
    model = _Zeros(walk)
    for step in range(walk.steps):
        model.begin(step, marks)
        for first in range(0, walk.lanes, walk.chunk):
            lanes = slice(first, min(first + walk.chunk, walk.lanes))
            marks[step, lanes] = found = bits.code(model.foretell(lanes), marks[step, lanes])
            model.learn(found)


class _Zeros:
    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._mixer = Mixer(5, 0.25)
        self._ones, self._seen = 1, 10
        self._lane_ones = np.zeros(walk.lanes, np.int64)
        self._lately = np.zeros(walk.lanes, np.int64)
        self._pattern_counts = np.zeros((2, _PATTERNS), np.int64)
        self._densities: list[int] = []
        self._step = self._step_ones = self._step_seen = 0

    def begin(self, step: int, marks: Whole) -> None:
        """Begin a step; those before are coded."""
        if step:
            self._densities.append(self._step_ones * ONE // self._walk.lanes)
        self._step, self._step_ones, self._step_seen = step, 0, 0
        self._patterns = self._patterns_of(step, marks)
        self._expected = self._expected_density(step)

    def _patterns_of(self, step: int, marks: Whole) -> Whole:
        """Return which neighbours of each lane were not zero, as the bits of a number."""
        pitch = self._walk.pitch
        places = [step - 1, step - 2]
        places += [step - pitch, step - pitch - 1, step - pitch + 1, step - 2 * pitch] if pitch else []
        made = np.zeros(self._walk.lanes, np.int64)
        for index, place in enumerate(places):
            if place >= 0:
                made += marks[place] << index
        return made

    def _expected_density(self, step: int) -> int:
        """Return what the steps beside say of the density of a step."""
        pitch = self._walk.pitch
        beside = [(2, step - 1)] + ([(2, step - pitch), (1, step - pitch + 1)] if pitch > 1 else [])
        some = [(weight, self._densities[place]) for weight, place in beside if place >= 0]
        if not some:
            return self._overall()
        return sum(weight * density for weight, density in some) // sum(weight for weight, _ in some)

    def _overall(self) -> int:
        return self._ones * ONE // self._seen

    def foretell(self, lanes: slice) -> Whole:
        """Return the probabilities that the elements of some lanes are not zero."""
        self._lanes = lanes
        overall = self._overall()
        base = logit_of(overall)
        if not self._step:
            self._lately[lanes] = overall
        lane = (self._lane_ones[lanes] * ONE + _LANE_DOUBT * overall) // (self._step + _LANE_DOUBT)
        step = (self._step_ones * ONE + _STEP_DOUBT * self._expected) // (self._step_seen + _STEP_DOUBT)
        zeros, ones = self._pattern_counts
        pattern = (ones * ONE + overall) // (zeros + ones + 1)
        self._chunk_patterns = self._patterns[lanes]
        logits: list[Whole | int] = [
            logits_of(lane) - base,
            logits_of(self._lately[lanes]) - base,
            logit_of(step) - base,
            logit_of(self._expected) - base,
            (logits_of(pattern) - base).take(self._chunk_patterns),
        ]
        return self._mixer.mix(logits, base, lanes.stop - lanes.start)

    def learn(self, bits: Whole) -> None:
        """Take in what the elements of the lanes are that were foretold last."""
        self._mixer.learn(bits)
        ones = int(bits.sum())
        self._ones, self._seen = self._ones + ones, self._seen + bits.size
        self._step_ones, self._step_seen = self._step_ones + ones, self._step_seen + bits.size
        self._lane_ones[self._lanes] += bits
        self._lately[self._lanes] += (bits * (ONE - 1) - self._lately[self._lanes]) >> 4
        counts = np.bincount(self._chunk_patterns * 2 + bits, minlength=2 * _PATTERNS)
        self._pattern_counts += counts.reshape(_PATTERNS, 2).T
