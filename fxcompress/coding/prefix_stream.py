"""Symbols in a prefix code, as bits in lanes that are decoded side by side.

    lanes       u8, their number's logarithm
    lengths     of the codes, four bits a symbol, the first symbol of two in the low bits
    bits        of each lane, a varint a lane
    codes       lane after lane without gaps, the highest bit of a byte first; zeros fill the last byte

Symbol `i` belongs to lane `i % lanes`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader, varint
from fxcompress.coding.frequencies import Counts
from fxcompress.coding.lanes import MAX_LANES_LOG, lanes_log
from fxcompress.coding.prefix_code import MAX_LENGTH, check_lengths, code_lengths, codes_of, lookup_tables
from fxcompress.errors import ArtifactError

_CHUNK = 1 << 16


def encode_stream(indices: NDArray[np.unsignedinteger], counts: Counts) -> bytes:
    """Return symbols, of which at least two differ, as bytes."""
    lengths = code_lengths(counts)
    bits = int((counts * lengths).sum())
    log = lanes_log(bits / 8, indices.size)
    lanes = [indices[lane :: 1 << log] for lane in range(1 << log)]
    sizes = b"".join(varint(int(lengths[lane].sum(dtype=np.int64))) for lane in lanes)
    return bytes([log]) + _write_lengths(lengths) + sizes + _pack(np.concatenate(lanes), lengths)


def _write_lengths(lengths: NDArray[np.uint8]) -> bytes:
    even = np.append(lengths, np.zeros(lengths.size % 2, np.uint8))
    return (even[::2] | even[1::2] << 4).astype(np.uint8).tobytes()


def _read_lengths(reader: Reader, symbols: int) -> NDArray[np.uint8]:
    pairs = reader.array("u1", -(-symbols // 2)).astype(np.uint8)
    every = np.stack((pairs & 15, pairs >> 4), 1).reshape(-1)
    if every[symbols:].any():
        raise ArtifactError("there are code lengths of more symbols than there are")
    return every[:symbols]


def _pack(indices: NDArray[np.unsignedinteger], lengths: NDArray[np.uint8]) -> bytes:
    codes, places = codes_of(lengths).astype(">u2"), np.arange(16, dtype=np.uint8)
    packed, carried = [], np.empty(0, np.uint8)
    for begin in range(0, indices.size, _CHUNK):
        part = indices[begin : begin + _CHUNK]
        bits = np.unpackbits(codes[part].view(np.uint8)).reshape(-1, 16)[places < lengths[part][:, None]]
        bits = np.concatenate((carried, bits))
        whole = bits.size // 8 * 8
        packed.append(np.packbits(bits[:whole]).tobytes())
        carried = bits[whole:]
    return b"".join(packed) + np.packbits(carried).tobytes()


def decode_stream(reader: Reader, symbols: int, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out` with symbols below `symbols`; all that is left of the reader is theirs.

    Raises:
        ArtifactError: bytes that `encode_stream` does not give.
    """
    count = 1 << reader.byte(MAX_LANES_LOG)
    lengths = _read_lengths(reader, symbols)
    check_lengths(lengths)
    sizes = np.array([reader.varint(out.size * MAX_LENGTH) for _ in range(count)], np.int64)
    ends = np.cumsum(sizes)
    if -(-int(ends[-1]) // 8) != reader.left:
        raise ArtifactError("a coded stream has another length than its lanes")
    places = ends - sizes
    _decode_lanes(np.frombuffer(reader.rest(), np.uint8), places, lookup_tables(lengths), out)
    if (places != ends).any():
        raise ArtifactError("a coded stream does not end where it should")


def _decode_lanes(
    data: NDArray[np.uint8],
    places: NDArray[np.int64],
    tables: tuple[NDArray[np.uint16], NDArray[np.uint8]],
    out: NDArray[np.unsignedinteger],
) -> None:
    padded = np.append(data, np.zeros(3, np.uint8)).astype(np.uint32)
    windows = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    symbols, lengths = tables
    mask = np.uint32((1 << MAX_LENGTH) - 1)
    for begin in range(0, out.size, places.size):
        step = out[begin : begin + places.size]
        active = places[: step.size]
        # A damaged lane may run beyond the end: it reads the last window then, and is found out at the end.
        found = windows.take(active >> 3, mode="clip") >> (9 - (active & 7)).astype(np.uint32) & mask
        step[:] = symbols.take(found, mode="clip")
        active += lengths.take(found, mode="clip")
