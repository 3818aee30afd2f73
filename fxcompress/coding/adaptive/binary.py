"""Bits of known probabilities, coded by rANS: as `lanes.py`, in one lane, with two symbols whose frequencies change.

The bit 1 has the slots below its probability, in 2**-16.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.adaptive.logits import ONE, Whole
from fxcompress.coding.bytestream import Reader
from fxcompress.errors import ArtifactError

_START = 1 << 16


class Bits(Protocol):
    """What a model codes its bits with; encoding and decoding look the same to it."""

    def code(self, probabilities: Whole, bits: Whole) -> Whole:
        """Return the bits that have these probabilities of being 1; who encodes knows them, who decodes does not."""


class Cost:
    """Adds up what bits would take, in bits."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, probabilities: Whole, bits: Whole) -> Whole:
        right = np.where(bits == 1, probabilities, ONE - probabilities)
        self.bits += bits.size * 16 - float(np.log2(right).sum())
        return bits


class Encoder:
    """Keeps bits with their probabilities until they are written."""

    def __init__(self) -> None:
        self._probabilities: list[NDArray[np.uint16]] = []
        self._bits: list[NDArray[np.bool_]] = []

    def code(self, probabilities: Whole, bits: Whole) -> Whole:
        self._probabilities.append(probabilities.astype(np.uint16))
        self._bits.append(bits == 1)
        return bits

    def finish(self) -> bytes:
        """Return the state as u32, then words of 16 bits in the order in which they are read."""
        ones, bits = np.concatenate(self._probabilities), np.concatenate(self._bits)
        state, words = _START, []
        for one, bit in zip(reversed(ones.tolist()), reversed(bits.tolist()), strict=True):
            width, start = (one, 0) if bit else (ONE - one, one)
            if state >= width << 16:
                words.append(state & 0xFFFF)
                state >>= 16
            state += state // width * (ONE - width) + start
        return state.to_bytes(4, "little") + np.array(words[::-1], "<u2").tobytes()


class Decoder:
    """Gives the bits of a stream to a model that tells their probabilities.

    Args:
        reader: all that is left of it is the stream.
    """

    def __init__(self, reader: Reader) -> None:
        self._state = int.from_bytes(reader.take(4), "little")
        if reader.left % 2:
            raise ArtifactError("the words of a coded stream are cut")
        self._words = reader.array("<u2", reader.left // 2).tolist()
        self._place = 0

    def code(self, probabilities: Whole, bits: Whole) -> Whole:
        # One lane: in steps of few bits Python's own numbers are faster than arrays.
        state, words, place = self._state, self._words, self._place
        found = []
        for one in probabilities.tolist():
            slot = state & 0xFFFF
            bit = slot < one
            found.append(bit)
            state = one * (state >> 16) + slot if bit else (ONE - one) * (state >> 16) + slot - one
            if state < _START:
                if place == len(words):
                    raise ArtifactError("the words of a coded stream end too soon")
                state = state << 16 | words[place]
                place += 1
        self._state, self._place = state, place
        return np.array(found, np.int64)

    def end(self) -> None:
        if self._place != len(self._words) or self._state != _START:
            raise ArtifactError("a coded stream does not end where it should")


def bits_for(symbols: int) -> int:
    """Return how many bits number so many symbols."""
    return math.ceil(math.log2(symbols)) if symbols > 1 else 0
