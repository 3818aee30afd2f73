"""Elements of few distinct values as small symbols, with the list of the values.

Elements are compared by their bits, so that -0.0, 0.0 and every NaN stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader, varint
from fxcompress.errors import ArtifactError

MAX_SYMBOLS = 4096
_SAMPLE = 1 << 16
_RUN, _LIST, _BITMAP = range(3)


@dataclass(frozen=True)
class Symbols:
    """Elements as indices into a palette.

    Attributes:
        palette: the distinct elements, ascending as unsigned numbers.
        indices: u8 or u16, one an element.
        counts: how often each symbol comes, all above 0.
    """

    palette: NDArray[np.unsignedinteger]
    indices: NDArray[np.unsignedinteger]
    counts: NDArray[np.int64]


def symbols_of(values: NDArray[np.unsignedinteger]) -> Symbols | None:
    """Return `values` (one dimension, u8 to u64) as symbols, None where there are none or more than `MAX_SYMBOLS`."""
    if not values.size:
        return None
    palette = _small_palette(values) if values.itemsize <= 2 else _large_palette(values)
    if palette is None:
        return None
    dtype = index_dtype(palette.size)
    if values.itemsize <= 2:
        table = np.zeros(1 << 8 * values.itemsize, dtype)
        table[palette] = np.arange(palette.size)
        indices = table[values]
    else:
        indices = np.searchsorted(palette, values).astype(dtype)
    return Symbols(palette, indices, np.bincount(indices, minlength=palette.size))


def index_dtype(symbols: int) -> np.dtype[np.unsignedinteger]:
    """Return the dtype of indices into a palette of so many symbols."""
    return np.dtype(np.uint8 if symbols <= 256 else np.uint16)


def _small_palette(values: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger] | None:
    there = np.zeros(1 << 8 * values.itemsize, bool)
    there[values] = True
    palette = np.flatnonzero(there)
    return palette.astype(values.dtype) if palette.size <= MAX_SYMBOLS else None


def _large_palette(values: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger] | None:
    # Sorting everything takes long, and most floats differ already in a sample.
    for part in (values[:: max(1, values.size // _SAMPLE)][:_SAMPLE], values):
        palette: NDArray[np.unsignedinteger] = np.unique(part)
        if palette.size > MAX_SYMBOLS:
            return None
    return palette


def write_palette(palette: NDArray[np.unsignedinteger]) -> bytes:
    """Return `palette` as bytes: its size and form, then what the form needs."""
    size, width = palette.size, palette.itemsize
    little = palette.astype(palette.dtype.newbyteorder("<"))
    if int(palette[-1]) - int(palette[0]) == size - 1:
        return varint((size - 1) * 3 + _RUN) + little[:1].tobytes()
    if width == 1 and size > 32:
        return varint((size - 1) * 3 + _BITMAP) + np.packbits(np.isin(np.arange(256), palette)).tobytes()
    return varint((size - 1) * 3 + _LIST) + little.tobytes()


def read_palette_unless_alone(reader: Reader, out: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger] | None:
    """Return the palette of the elements of `out`; None where it has one value, which `out` is then filled with.

    Raises:
        ArtifactError: something follows the only value.
    """
    palette = read_palette(reader, out.itemsize)
    if palette.size > 1:
        return palette
    reader.end()
    out[:] = palette[0]
    return None


def read_palette(reader: Reader, width: int) -> NDArray[np.unsignedinteger]:
    """Return the palette of elements of `width` bytes that `write_palette` wrote."""
    size, form = divmod(reader.varint(MAX_SYMBOLS * 3 - 1), 3)
    size += 1
    if form == _RUN:
        first = int.from_bytes(reader.take(width), "little")
        if first + size > 1 << 8 * width:
            raise ArtifactError("a palette has values that its elements cannot have")
        return (np.arange(size, dtype=np.uint64) + np.uint64(first)).astype(f"u{width}")
    if form == _BITMAP:
        found = np.flatnonzero(np.unpackbits(np.frombuffer(reader.take(32), np.uint8))).astype(np.uint8)
        if width != 1 or found.size != size:
            raise ArtifactError("the bitmap of a palette has another number of values")
        return found.astype("u1")
    listed = reader.array(f"<u{width}", size).astype(f"u{width}")
    if (listed[1:] <= listed[:-1]).any():
        raise ArtifactError("the values of a palette do not ascend")
    return listed
