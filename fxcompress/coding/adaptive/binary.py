"""Bits of known probabilities, coded by rANS in lanes: as `lanes.py`, with two symbols whose frequencies change.

Bit `i` of the stream belongs to lane `i % lanes`. The bit 1 has the slots below its probability, in 2**-16.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.adaptive.logits import ONE, Whole
from fxcompress.coding.bytestream import Reader
from fxcompress.coding.lanes import MAX_LANES_LOG, lanes_log
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
        """Return the lanes' logarithm as u8, their states as u32, and words of 16 bits."""
        ones, bits = np.concatenate(self._probabilities), np.concatenate(self._bits)
        widths = np.where(bits, ones, ONE - ones.astype(np.uint32)).astype(np.uint32)
        log = lanes_log(float(-np.log2(widths / ONE).sum()) / 8, 0)
        starts = np.where(bits, 0, ones).astype(np.uint32)
        states = np.full(1 << log, _START, np.uint32)
        words = []
        for step in range(-(-widths.size // states.size) - 1, -1, -1):
            part = slice(step * states.size, (step + 1) * states.size)
            words.append(_push(states[: widths[part].size], widths[part], starts[part]))
        words.reverse()
        return bytes([log]) + states.astype("<u4").tobytes() + b"".join(words)


def _push(states: NDArray[np.uint32], widths: NDArray[np.uint32], starts: NDArray[np.uint32]) -> bytes:
    full = states >= widths << np.uint32(16)
    pushed = states[full]
    states[full] = pushed >> 16
    states += states // widths * (ONE - widths) + starts
    return pushed.astype("<u2").tobytes()


class Decoder:
    """Gives the bits of a stream to a model that tells their probabilities.

    Args:
        reader: all that is left of it is the stream.
    """

    def __init__(self, reader: Reader) -> None:
        count = 1 << reader.byte(MAX_LANES_LOG)
        self._states = reader.array("<u4", count).astype(np.int64)
        if reader.left % 2:
            raise ArtifactError("the words of a coded stream are cut")
        self._words = reader.array("<u2", reader.left // 2).astype(np.int64)
        self._word = 0
        self._lane = 0

    def code(self, probabilities: Whole, bits: Whole) -> Whole:
        found = np.empty(probabilities.size, np.int64)
        done = 0
        while done < found.size:
            part = slice(done, done + min(found.size - done, self._states.size - self._lane))
            self._pull(probabilities[part], found[part])
            done = part.stop
        return found

    def _pull(self, ones: Whole, out: Whole) -> None:
        states = self._states[self._lane : self._lane + ones.size]
        slots = states & (ONE - 1)
        found = slots < ones
        widths = np.where(found, ones, ONE - ones)
        states >>= 16
        states *= widths
        states += slots
        states -= np.where(found, 0, ones)
        hungry = np.flatnonzero(states < _START)
        word = self._word + hungry.size
        if word > self._words.size:
            raise ArtifactError("the words of a coded stream end too soon")
        states[hungry] = states[hungry] << 16 | self._words[self._word : word]
        self._word, self._lane = word, (self._lane + ones.size) % self._states.size
        out[:] = found

    def end(self) -> None:
        if self._word != self._words.size or (self._states != _START).any():
            raise ArtifactError("a coded stream does not end where it should")


def bits_for(symbols: int) -> int:
    """Return how many bits number so many symbols."""
    return math.ceil(math.log2(symbols)) if symbols > 1 else 0
