"""The coder `rans`: a palette, frequencies, and range coding by them, within a thousandth of the order-0 entropy.

palette       see `palette.py`
lanes         u8, their number's logarithm          only where there are two symbols or more, as all that follows
frequencies   see `frequencies.py`
stream        see `lanes.py`
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader
from fxcompress.coding.frequencies import entropy_bits, quantized, read_frequencies, write_frequencies
from fxcompress.coding.lanes import MAX_LANES_LOG, decode_lanes, encode_lanes, lanes_log
from fxcompress.coding.palette import Symbols, index_dtype, read_palette_unless_alone, write_palette


def encode(found: Symbols) -> bytes:
    """Return symbols as bytes."""
    head = write_palette(found.palette)
    if found.palette.size == 1:
        return head
    frequencies = quantized(found.counts)
    log = lanes_log(entropy_bits(found.counts) / 8, found.indices.size)
    return head + bytes([log]) + write_frequencies(frequencies) + encode_lanes(found.indices, frequencies, log)


def decode(data: bytes | memoryview, out: NDArray[np.unsignedinteger]) -> None:
    """Fill `out`, at least one element of u8 to u64, with what `encode` coded.

    Raises:
        ArtifactError: bytes that `encode` does not give.
    """
    reader = Reader(data)
    palette = read_palette_unless_alone(reader, out)
    if palette is None:
        return
    log = reader.byte(MAX_LANES_LOG)
    frequencies = read_frequencies(reader, palette.size)
    indices = np.empty(out.size, index_dtype(palette.size))
    decode_lanes(reader, frequencies, log, indices)
    palette.take(indices, out=out, mode="clip")
