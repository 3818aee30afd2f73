"""The model of what stands where a matrix is not zero, once it is known where that is.

A value is a number, coded bit by bit from the highest. Of a bit these are known: the bits before it; how many
neighbours are not zero, and on which side of the middle they are; the neighbour in the step before; and on which side
the values of its lane were so far. The sides are the signs where values are ordered, as shared weights are.
"""

from __future__ import annotations

import numpy as np

from fxcompress.coding.adaptive.binary import Bits
from fxcompress.coding.adaptive.logits import LOGIT_ONE, ONE, Whole, logits_of
from fxcompress.coding.adaptive.mixer import Mixer
from fxcompress.coding.adaptive.zeros import Walk

_LEVELS = 31
_CONTEXTS = (1, 4, 13, _LEVELS + 1, 8)


def code_values(bits: Bits, walk: Walk, marks: Whole, values: Whole, depth: int) -> None:
    """Code the values of a matrix where it is not zero.

    Args:
        bits: to code with.
        walk: the order; a step is coded at once.
        marks: i64[steps, lanes], 1 where not zero.
        values: i64[steps, lanes], from 1 to `2**depth` where not zero, 0 elsewhere; filled where it is decoded.
        depth: bits of a value less one.
    """
    if not depth:
        values[...] = marks
        return
    model = _Values(walk, depth)
    for step in range(walk.steps):
        lanes = np.flatnonzero(marks[step])
        if lanes.size:
            model.begin(step, lanes, values)
            values[step, lanes] = model.code(bits, values[step, lanes] - 1) + 1


class _Values:
    def __init__(self, walk: Walk, depth: int) -> None:
        self._walk, self._depth = walk, depth
        self._counts = [np.zeros((contexts << depth, 2), np.int64) for contexts in _CONTEXTS]
        self._mixers = [Mixer(len(_CONTEXTS) + 1, 0.2) for _ in range(depth)]
        self._lane_sides = np.zeros(walk.lanes, np.int64)

    def begin(self, step: int, lanes: Whole, values: Whole) -> None:
        """Begin the values of some lanes of a step."""
        pitch, nothing = self._walk.pitch, np.zeros(lanes.size, np.int64)
        places = [step - 1] + ([step - pitch, step - pitch - 1, step - pitch + 1] if pitch else [])
        near = [values[place, lanes] if place >= 0 else nothing for place in places]
        there = sum((one > 0).astype(np.int64) for one in near)
        sides = [self._side(one) for one in near]
        side = 2 * sum(sides[:2]) + sum(sides[2:])
        level = (near[0] * _LEVELS + (1 << self._depth) - 1) >> self._depth
        self._lanes = lanes
        lane_side = np.clip(self._lane_sides[lanes] + 4, 0, 7)
        self._contexts = [nothing, np.minimum(there, 3), side + 6, level, lane_side]

    def _side(self, values: Whole) -> Whole:
        return np.sign(values * 2 - (1 << self._depth) - 1) * (values > 0)

    def code(self, bits: Bits, values: Whole) -> Whole:
        """Code the values that were begun, from 0 to below `2**depth`."""
        tree = np.ones(self._lanes.size, np.int64)
        for place in range(self._depth - 1, -1, -1):
            mixer = self._mixers[self._depth - 1 - place]
            cells = [(context << self._depth) + tree for context in self._contexts]
            found = bits.code(mixer.mix(self._logits(cells), 0, tree.size), values >> place & 1)
            mixer.learn(found)
            for counts, cell in zip(self._counts, cells, strict=True):
                np.add.at(counts, (cell, found), 1)
            tree = tree * 2 + found
        made: Whole = tree - (1 << self._depth)
        self._lane_sides[self._lanes] += self._side(made + 1)
        return made

    def _logits(self, cells: list[Whole]) -> list[Whole | int]:
        made: list[Whole | int] = []
        first = None
        for counts, cell in zip(self._counts, cells, strict=True):
            zeros, ones = counts[cell, 0], counts[cell, 1]
            # What is known without a context stands for one more observation in it.
            first = first if first is not None else np.full(cell.size, ONE // 2)
            probability = (ones * ONE + first) // (zeros + ones + 1)
            first = probability if len(made) == 0 else first
            made.append(logits_of(probability))
        return [*made, LOGIT_ONE // 3]
