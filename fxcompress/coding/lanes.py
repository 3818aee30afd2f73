"""Range coding of symbols by asymmetric numeral systems (rANS), in many lanes at once.

A lane is a coder with a state of its own: a number from 2**16 to below 2**32. Symbol `i` belongs to lane `i % lanes`,
so one step of NumPy codes a symbol of every lane. All lanes share one sequence of words of 16 bits.

Decoding a symbol of frequency f that begins at c, where frequencies sum to 2**b:

    slot = state mod 2**b, the symbol is the one with c <= slot < c + f
    state = f * floor(state / 2**b) + slot - c
    and if that is below 2**16: state = state * 2**16 + the next word

In a step the lanes that need a word take theirs in the order of the lanes. Encoding does the inverse from the last
symbol to the first, beginning with all states at 2**16, so a decoder has to end there.

Paper: Duda, "Asymmetric numeral systems", arXiv 1311.2540; interleaving: Giesen, arXiv 1402.3392.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader
from fxcompress.coding.frequencies import Counts, precision
from fxcompress.errors import ArtifactError

MAX_LANES_LOG = 12
_BYTES_A_LANE, _FEWEST_BYTES_A_LANE, _SYMBOLS_A_LANE = 1024, 256, 16384
_START = 1 << 16


def lanes_log(coded_bytes: float, count: int) -> int:
    """Return the logarithm of the number of lanes for so many symbols and bytes.

    A lane costs about three bytes. With few lanes for many symbols decoding takes long, so there may cost more.
    """
    lanes = max(coded_bytes / _BYTES_A_LANE, min(coded_bytes / _FEWEST_BYTES_A_LANE, count / _SYMBOLS_A_LANE))
    return max(0, min(MAX_LANES_LOG, int(lanes).bit_length() - 1))


def encode_lanes(indices: NDArray[np.unsignedinteger], frequencies: Counts, log: int) -> bytes:
    """Return symbols coded in `2**log` lanes: the states as u32, then the words as u16, all little-endian."""
    count, bits = 1 << log, precision(frequencies.size)
    widths = frequencies.astype(np.uint32)
    limits = widths << np.uint32(32 - bits)
    starts = (np.cumsum(frequencies) - frequencies).astype(np.uint32)
    skips = np.uint32(1 << bits) - widths
    states = np.full(count, _START, np.uint32)
    words = []
    for step in range(-(-indices.size // count) - 1, -1, -1):
        symbols = indices[step * count : (step + 1) * count]
        active = states[: symbols.size]
        full = active >= limits[symbols]
        pushed = active[full]
        words.append(pushed.astype(np.uint16))
        active[full] = pushed >> 16
        active += active // widths[symbols] * skips[symbols] + starts[symbols]
    words.reverse()
    return states.astype("<u4").tobytes() + b"".join(part.astype("<u2").tobytes() for part in words)


def decode_lanes(reader: Reader, frequencies: Counts, log: int, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out` with the symbols that `encode_lanes` coded; what is left of the reader is theirs."""
    count = 1 << log
    states = reader.array("<u4", count).astype(np.uint32)
    if reader.left % 2:
        raise ArtifactError("the words of a coded stream are cut")
    words = reader.array("<u2", reader.left // 2).astype(np.uint32)
    decoder = _Decoder(states, words, frequencies, out.dtype)
    for begin in range(0, out.size, count):
        decoder.step(out[begin : begin + count])
    decoder.end()


class _Decoder:
    def __init__(
        self,
        states: NDArray[np.uint32],
        words: NDArray[np.uint32],
        frequencies: Counts,
        dtype: np.dtype[np.unsignedinteger],
    ) -> None:
        self._states, self._words, self._place = states, words, 0
        self._bits = np.uint32(precision(frequencies.size))
        total = 1 << int(self._bits)
        self._mask = np.uint32(total - 1)
        self._symbols = np.repeat(np.arange(frequencies.size), frequencies).astype(dtype)
        self._widths = frequencies[self._symbols].astype(np.uint32)
        starts = np.cumsum(frequencies) - frequencies
        self._offsets = (np.arange(total) - starts[self._symbols]).astype(np.uint32)
        self._slots = np.empty(states.size, np.intp)
        self._buffer = np.empty(states.size, np.uint32)

    def step(self, out: NDArray[np.unsignedinteger]) -> None:
        """Decode a symbol of each of the first `out.size` lanes."""
        states, slots, buffer = self._states[: out.size], self._slots[: out.size], self._buffer[: out.size]
        np.bitwise_and(states, self._mask, out=slots, casting="unsafe")
        # Slots are below the length of the tables, so clipping changes nothing; it is the fast way.
        self._symbols.take(slots, out=out, mode="clip")
        states >>= self._bits
        states *= self._widths.take(slots, out=buffer, mode="clip")
        states += self._offsets.take(slots, out=buffer, mode="clip")
        hungry = np.flatnonzero(states < _START)
        place = self._place + hungry.size
        if place > self._words.size:
            raise ArtifactError("the words of a coded stream end too soon")
        states[hungry] = states[hungry] << np.uint32(16) | self._words[self._place : place]
        self._place = place

    def end(self) -> None:
        if self._place != self._words.size or (self._states != _START).any():
            raise ArtifactError("a coded stream does not end where it should")
