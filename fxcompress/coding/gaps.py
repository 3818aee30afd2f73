"""The coder `gaps`: the distances between what is not zero, and the values there, both in prefix codes.

"Zero" is the most frequent element. A distance of `most` and more takes fillers, as in Deep Compression: a gap symbol
`most` stands for so many zeros that no value follows, a smaller one `g` for `g` zeros and then a value.

    palette     of all elements, see `palette.py`
    zero        varint, the symbol of the zero
    most        u8, the logarithm of the largest gap symbol
    gaps        varint, their number
    length      varint, of the coded gaps in bytes
    gaps        a one-stream, see below
    values      a one-stream; symbols above that of the zero are one less

A one-stream is `0` where there are no symbols, `1` and the symbol as a varint where all are the same, `2` and a stream
of `prefix_stream.py` else.

Paper: Han, Mao, Dally, "Deep Compression", ICLR 2016, section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader, varint
from fxcompress.coding.frequencies import entropy_bits
from fxcompress.coding.palette import MAX_SYMBOLS, Symbols, read_palette, write_palette
from fxcompress.coding.prefix_stream import decode_stream, encode_stream
from fxcompress.errors import ArtifactError

MAX_GAP_LOG = 10
_NONE, _SAME, _MANY = range(3)


def encode(found: Symbols) -> bytes:
    """Return symbols as bytes; sensible where most are the same."""
    zero = int(found.counts.argmax())
    places = np.flatnonzero(found.indices != zero)
    distances = np.diff(places, prepend=-1) - 1
    log = min(range(1, MAX_GAP_LOG + 1), key=lambda log: _estimate(distances, 1 << log))
    gaps = _with_fillers(distances, 1 << log)
    values = found.indices[places].astype(np.uint16)
    values -= values > zero
    coded = _one_stream(gaps)
    head = write_palette(found.palette) + varint(zero) + bytes([log]) + varint(gaps.size) + varint(len(coded))
    return head + coded + _one_stream(values)


def _estimate(distances: NDArray[np.int64], most: int) -> float:
    counts = np.bincount(distances % most, minlength=most + 1)
    counts[most] = (distances // most).sum()
    return entropy_bits(counts)


def _with_fillers(distances: NDArray[np.int64], most: int) -> NDArray[np.uint16]:
    fillers = distances // most
    made = np.full(distances.size + int(fillers.sum()), most, np.uint16)
    made[np.cumsum(fillers + 1) - 1] = distances % most
    return made


def _one_stream(symbols: NDArray[np.uint16]) -> bytes:
    if not symbols.size:
        return bytes([_NONE])
    counts = np.bincount(symbols)
    if np.count_nonzero(counts) == 1:
        return bytes([_SAME]) + varint(int(symbols[0]))
    return bytes([_MANY]) + varint(counts.size - 1) + encode_stream(symbols, counts)


def _read_one(reader: Reader, count: int, most: int) -> NDArray[np.uint16]:
    form = reader.byte(_MANY)
    if (form == _NONE) != (count == 0):
        raise ArtifactError("a coded stream is empty, or should be")
    made = np.empty(count, np.uint16)
    if form == _SAME:
        made[:] = reader.varint(most)
    if form == _MANY:
        decode_stream(reader, reader.varint(most) + 1, made)
    reader.end()
    return made


def decode(data: bytes | memoryview, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out`, at least one element of u8 to u64, with what `encode` coded.

    Raises:
        ArtifactError: bytes that `encode` does not give.
    """
    reader = Reader(data)
    palette = read_palette(reader, out.itemsize)
    zero = reader.varint(palette.size - 1)
    most = 1 << reader.byte(MAX_GAP_LOG)
    count = reader.varint(out.size)
    gaps = _read_one(Reader(reader.take(reader.varint(reader.left))), count, most)
    places = np.cumsum(gaps.astype(np.int64) + (gaps < most))
    if count and int(places[-1]) > out.size:
        raise ArtifactError("the gaps of a coded tensor lead beyond its end")
    places = places[gaps < most] - 1
    values = _read_one(Reader(reader.rest()), places.size, min(MAX_SYMBOLS, max(palette.size - 2, 0)))
    values += values >= zero
    out[:] = palette[zero]
    out[places] = palette.take(values, mode="clip")
