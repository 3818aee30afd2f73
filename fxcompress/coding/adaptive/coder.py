"""The coder `adaptive`: where a matrix is not zero, then what stands there, each bit with a probability of its own.

    palette    see `palette.py`; with one symbol nothing follows
    zero       varint, the symbol of the zero, the most frequent one
    walk       u8: 1 where the matrix is transposed
    columns    varint, sizes of the matrix before it is transposed: rows are the rest of the elements
    pitch      varint
    stream     see `binary.py`: the bits of `zeros.py`, then those of `values.py`

The value of a symbol below that of the zero is the symbol plus one, of a symbol above it the symbol.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.adaptive.binary import Bits, Cost, Decoder, Encoder, bits_for
from fxcompress.coding.adaptive.logits import Whole
from fxcompress.coding.adaptive.values import code_values
from fxcompress.coding.adaptive.zeros import Walk, code_zeros
from fxcompress.coding.bytestream import Reader, varint
from fxcompress.coding.frequencies import entropy_bits
from fxcompress.coding.palette import Symbols, read_palette_unless_alone, write_palette
from fxcompress.errors import ArtifactError

MAX_SYMBOLS = 257
_FEW_CHUNKS, _LEAST_CHUNK = 512, 8
MOST_ELEMENTS = 1 << 20
_SAMPLE, _WALK_SAMPLE = 1 << 15, 1 << 17


def encode(found: Symbols, shape: tuple[int, ...]) -> bytes | None:
    """Return symbols that lie in `shape` as bytes, None where too many differ or no order is sensible."""
    head = write_palette(found.palette)
    if found.palette.size == 1:
        return head
    if found.palette.size > MAX_SYMBOLS or found.indices.size > MOST_ELEMENTS:
        return None
    zero = int(found.counts.argmax())
    matrix = _values_of(found, zero).reshape(-1, max(1, math.prod(shape[1:])))
    transposed, walk = _best_walk(matrix)
    if not _sensible(walk):
        return None
    bits = Encoder()
    _code(bits, walk, matrix.T if transposed else matrix, bits_for(found.palette.size - 1))
    sizes = varint(matrix.shape[1]) + varint(walk.pitch)
    return head + varint(zero) + bytes([transposed]) + sizes + bits.finish()


def share_of_entropy(found: Symbols, shape: tuple[int, ...]) -> float:
    """Return what `encode` takes of the order-0 entropy, estimated on a part; infinite where it gives nothing."""
    if not 1 < found.palette.size <= MAX_SYMBOLS or found.indices.size > MOST_ELEMENTS:
        return math.inf
    values = _values_of(found, int(found.counts.argmax()))
    matrix = _sample(values.reshape(-1, max(1, math.prod(shape[1:]))), _SAMPLE)
    transposed, walk = _best_walk(matrix)
    entropy = entropy_bits(np.bincount(matrix.reshape(-1)))
    if not _sensible(walk) or not entropy:
        return math.inf
    cost = Cost()
    _code(cost, walk, matrix.T if transposed else matrix, bits_for(found.palette.size - 1))
    return cost.bits / entropy


def _code(bits: Bits, walk: Walk, matrix: Whole, depth: int) -> None:
    marks = (matrix > 0).astype(np.int64)
    code_zeros(bits, walk, marks)
    code_values(bits, walk, marks, matrix, depth)


def _values_of(found: Symbols, zero: int) -> Whole:
    symbols = np.arange(found.palette.size)
    values: Whole = np.where(symbols < zero, symbols + 1, symbols)
    values[zero] = 0
    return values.take(found.indices)


def _sensible(walk: Walk) -> bool:
    """Whether the chunks are few, or have some elements each: coding one takes as long as coding some dozens."""
    chunks = walk.steps * -(-walk.lanes // walk.chunk)
    return chunks <= _FEW_CHUNKS or chunks * _LEAST_CHUNK <= walk.steps * walk.lanes


def _walk(steps: int, lanes: int, pitch: int) -> Walk:
    size = steps * lanes
    return Walk(steps, lanes, pitch, min(lanes, 64 if size <= 1 << 18 else size >> 10))


def _best_walk(matrix: Whole) -> tuple[bool, Walk]:
    """Return the order in which the zeros cost least, and whether the matrix is transposed for it."""
    sample = _sample(matrix, _WALK_SAMPLE)
    transposed, walk = min(_walks(sample), key=lambda one: _cost(sample.T if one[0] else sample, one[1]))
    rows, columns = matrix.shape
    return transposed, _walk(columns, rows, walk.pitch) if transposed else _walk(rows, columns, 0)


def _sample(matrix: Whole, size: int) -> Whole:
    return matrix[: max(1, size // matrix.shape[1])]


def _walks(matrix: Whole) -> Iterator[tuple[bool, Walk]]:
    rows, columns = matrix.shape
    yield False, _walk(rows, columns, 0)
    for pitch in (0, *_pitches(matrix)):
        yield True, _walk(columns, rows, pitch)


def _pitches(matrix: Whole) -> list[int]:
    """Return distances at which columns are about as dense as each other, the most alike first."""
    density = (matrix > 0).mean(0)
    density = density - density.mean()
    if density.size < 8 or not density.any():
        return []
    transform = np.fft.rfft(density, 2 * density.size)
    likeness = np.fft.irfft(transform * transform.conj())[: density.size // 2]
    peaks = [
        lag
        for lag in range(2, likeness.size - 1)
        if likeness[lag] >= max(likeness[lag - 1], likeness[lag + 1]) and likeness[lag] > 0
    ]
    return sorted(peaks, key=lambda lag: -likeness[lag])[:2]


def _cost(matrix: Whole, walk: Walk) -> float:
    if not _sensible(walk):
        return math.inf
    cost = Cost()
    code_zeros(cost, walk, (matrix > 0).astype(np.int64))
    return cost.bits


def decode(data: bytes | memoryview, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out`, at least one element of u8 to u64, with what `encode` coded.

    Raises:
        ArtifactError: bytes that `encode` does not give.
    """
    reader = Reader(data)
    palette = read_palette_unless_alone(reader, out)
    if palette is None:
        return
    zero, transposed, walk = _read_walk(reader, palette.size, out.size)
    bits = Decoder(reader)
    marks, values = np.zeros((2, walk.steps, walk.lanes), np.int64)
    code_zeros(bits, walk, marks)
    code_values(bits, walk, marks, values, bits_for(palette.size - 1))
    bits.end()
    if int(values.max()) >= palette.size:
        raise ArtifactError("a coded value is above its palette")
    order = np.concatenate((palette[zero : zero + 1], palette[:zero], palette[zero + 1 :]))
    order.take((values.T if transposed else values).reshape(-1), out=out, mode="clip")


def _read_walk(reader: Reader, symbols: int, count: int) -> tuple[int, bool, Walk]:
    zero, transposed = reader.varint(symbols - 1), bool(reader.byte(1))
    columns = reader.varint(count)
    if columns == 0 or count % columns or symbols > MAX_SYMBOLS:
        raise ArtifactError("a coded matrix has another number of elements than its tensor")
    steps, lanes = (columns, count // columns) if transposed else (count // columns, columns)
    walk = _walk(steps, lanes, reader.varint(steps))
    if not _sensible(walk):
        raise ArtifactError("a coded matrix has more chunks than are allowed")
    return zero, transposed, walk
