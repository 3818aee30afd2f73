"""The coder `huffman`: a palette, and a prefix code of whole bits for its symbols.

palette       see `palette.py`
stream        only where there are two symbols or more; see `prefix_stream.py`
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader
from fxcompress.coding.palette import Symbols, read_palette_unless_alone, write_palette
from fxcompress.coding.prefix_stream import decode_stream, encode_stream


def encode(found: Symbols) -> bytes:
    """Return symbols as bytes."""
    head = write_palette(found.palette)
    return head if found.palette.size == 1 else head + encode_stream(found.indices, found.counts)


def decode(data: bytes | memoryview, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out`, at least one element of u8 to u64, with what `encode` coded.

    Raises:
        ArtifactError: bytes that `encode` does not give.
    """
    reader = Reader(data)
    palette = read_palette_unless_alone(reader, out)
    if palette is None:
        return
    indices = np.empty(out.size, np.uint16)
    decode_stream(reader, palette.size, indices)
    palette.take(indices, out=out, mode="clip")
