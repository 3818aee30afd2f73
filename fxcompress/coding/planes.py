"""The coder `planes`: the first bytes of all elements, then the second ones, and so on, each plane coded by itself.

Floats of trained weights have exponents of few values, and mantissas of all; apart, the former become small.

    for each byte of an element, the lowest first:
        form      u8: 0 as it is, 1 coded by `rans`
        length    varint, of what is coded; none where it stands as it is
        bytes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding import rans
from fxcompress.coding.bytestream import Reader, varint
from fxcompress.coding.frequencies import entropy_bits
from fxcompress.coding.palette import symbols_of

_PLAIN, _CODED = range(2)


def encode(values: NDArray[np.unsignedinteger]) -> bytes:
    """Return elements, at least one of u8 to u64, as bytes."""
    return b"".join(_encode_plane(plane) for plane in _planes(values))


def _planes(values: NDArray[np.unsignedinteger]) -> list[NDArray[np.uint8]]:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).view(np.uint8).reshape(values.size, -1)
    return [np.ascontiguousarray(little[:, byte]) for byte in range(values.itemsize)]


def entropy_of_planes(values: NDArray[np.unsignedinteger]) -> float:
    """Return the order-0 entropy of all byte planes, in bits."""
    return sum(entropy_bits(np.bincount(plane)) for plane in _planes(values))


def _encode_plane(plane: NDArray[np.uint8]) -> bytes:
    found = symbols_of(plane)
    assert found is not None
    # Below one part in two hundred a plane is not worth the time of its decoding.
    if entropy_bits(found.counts) / 8 < plane.size * 0.995:
        coded = rans.encode(found)
        if len(coded) + 3 < plane.size:
            return bytes([_CODED]) + varint(len(coded)) + coded
    return bytes([_PLAIN]) + plane.tobytes()


def decode(data: bytes | memoryview, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out`, at least one element, with what `encode` coded.

    Raises:
        ArtifactError: bytes that `encode` does not give.
    """
    reader = Reader(data)
    little = np.empty((out.size, out.itemsize), np.uint8)
    plane = np.empty(out.size, np.uint8)
    for byte in range(out.itemsize):
        if reader.byte(_CODED) == _PLAIN:
            plane[:] = reader.array("u1", out.size)
        else:
            rans.decode(reader.take(reader.varint(reader.left)), plane)
        little[:, byte] = plane
    reader.end()
    out[:] = little.view(out.dtype.newbyteorder("<")).reshape(-1)
