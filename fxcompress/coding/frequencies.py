"""Counts of symbols as frequencies that sum to a power of two, which range coding works with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.bytestream import Reader, varint
from fxcompress.errors import ArtifactError

Counts = NDArray[np.int64]


def precision(symbols: int) -> int:
    """Return the bits of the sum of the frequencies for an alphabet of that size."""
    return 14 if symbols <= 256 else 16


def entropy_bits(counts: Counts) -> float:
    """Return the order-0 entropy of all symbols together, in bits."""
    some = counts[counts > 0].astype(np.float64)
    return float((some * np.log2(some.sum() / some)).sum())


def quantized(counts: Counts) -> Counts:
    """Return frequencies in proportion to `counts`, all above 0, that sum to `2**precision`.

    Args:
        counts: at least two, all above 0.
    """
    total = 1 << precision(counts.size)
    made: Counts = np.maximum(1, np.rint(counts * (total / counts.sum())).astype(np.int64))
    while excess := int(made.sum()) - total:
        # The largest lose or gain first: there one more or less costs least.
        places = np.argsort(-made, kind="stable")[: max(1, min(counts.size // 4, abs(excess)))]
        places = places[made[places] > 1] if excess > 0 else places
        made[places] -= int(math.copysign(1, excess))
    return made


def write_frequencies(frequencies: Counts) -> bytes:
    """Return all frequencies but the last, which the sum gives."""
    return b"".join(varint(int(one)) for one in frequencies[:-1])


def read_frequencies(reader: Reader, symbols: int) -> Counts:
    """Return the frequencies of `symbols` symbols, at least two."""
    total = 1 << precision(symbols)
    found = [reader.varint(total - 1) for _ in range(symbols - 1)]
    last = total - sum(found)
    if last < 1 or 0 in found:
        raise ArtifactError(f"the frequencies of coded symbols do not sum to {total:,}")
    return np.array([*found, last], np.int64)
