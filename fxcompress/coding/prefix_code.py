"""Canonical Huffman codes: lengths from counts, codes from lengths.

Paper: Huffman, "A method for the construction of minimum-redundancy codes", 1952.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding.frequencies import Counts
from fxcompress.errors import ArtifactError

MAX_LENGTH = 15
Lengths = NDArray[np.uint8]


def code_lengths(counts: Counts) -> Lengths:
    """Return the bits of each symbol's code, 1 to `MAX_LENGTH`, 0 for one that never comes.

    Args:
        counts: how often each symbol comes; at least two do.
    """
    flat = counts.copy()
    while (lengths := _free_lengths(flat)).max() > MAX_LENGTH:
        # Flatter counts give shorter codes; what that costs is far below a hundredth.
        flat[counts > 0] = flat[counts > 0] // 2 + 1
    return lengths


def _free_lengths(counts: Counts) -> Lengths:
    heap = [(int(count), symbol) for symbol, count in enumerate(counts) if count]
    heapq.heapify(heap)
    parents: dict[int, int] = {}
    made = counts.size
    while len(heap) > 1:
        (one, first), (other, second) = heapq.heappop(heap), heapq.heappop(heap)
        parents[first] = parents[second] = made
        heapq.heappush(heap, (one + other, made))
        made += 1
    depths = {made - 1: 0}
    for node in range(made - 2, -1, -1):
        if node in parents:
            depths[node] = depths[parents[node]] + 1
    return np.array([min(depths.get(symbol, 0), 255) for symbol in range(counts.size)], np.uint8)


def check_lengths(lengths: Lengths) -> None:
    """Raise ArtifactError where no complete prefix code has these lengths."""
    used = lengths[lengths > 0].astype(np.int64)
    if used.size < 2 or int((1 << (MAX_LENGTH - used)).sum()) != 1 << MAX_LENGTH:
        raise ArtifactError("the code lengths of coded symbols make no prefix code")


def canonical_order(lengths: Lengths) -> NDArray[np.int64]:
    """Return the symbols that have codes in the order of their codes: shorter ones first, then by number."""
    order = np.argsort(lengths, kind="stable")
    return order[lengths[order] > 0]


def codes_of(lengths: Lengths) -> NDArray[np.uint16]:
    """Return the code of every symbol in the highest bits of a u16."""
    order = canonical_order(lengths)
    steps = 1 << (16 - lengths[order].astype(np.int64))
    codes = np.zeros(lengths.size, np.uint16)
    codes[order] = np.cumsum(steps) - steps
    return codes


def lookup_tables(lengths: Lengths) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return symbol and length for every value of the next `MAX_LENGTH` bits."""
    order = canonical_order(lengths)
    times = 1 << (MAX_LENGTH - lengths[order].astype(np.int64))
    return np.repeat(order, times).astype(np.uint16), np.repeat(lengths[order], times)
