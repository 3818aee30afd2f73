"""Which configuration a kernel gets: that of a table, else an estimate from the sizes of the GPU."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from fxcompress.kernels.gpu.table_files import Capability, Config, table_for

__all__ = ["KERNELS", "Config", "configuration", "dequantize_from", "estimated", "sizes_of"]

# Names of the kernels in tables. Gated ones have the rows of both weights in n.
WEIGHT_ONLY = {4: "weight-only-4", 8: "weight-only-8"}
GATED = {4: "gated-4", 8: "gated-8"}
EIGHT_BITS = ("int8", "fp8")
KERNELS = (*WEIGHT_ONLY.values(), *GATED.values(), *EIGHT_BITS)
# Bits of an element of the input and of the weight.
_BITS = {
    **{name: (16, bits) for names in (WEIGHT_ONLY, GATED) for bits, name in names.items()},
    **dict.fromkeys(EIGHT_BITS, (8, 8)),
}
# From this many rows on a weight of fewer bits takes longer than the product of floats.
DEQUANTIZE_FROM = 129
MOST_PARTS = 16
# Bytes of shared memory from compute capability 9.0 on, where sums need fewer registers too.
_LARGE = 200_000


@dataclass(frozen=True)
class Sizes:
    """Of a GPU.

    Attributes:
        processors: streaming multiprocessors.
        shared: bytes of shared memory that a program may have.
    """

    processors: int
    shared: int


# A100, A10, L40S, H100.
SIZES = {
    (8, 0): Sizes(108, 166_912),
    (8, 6): Sizes(72, 101_376),
    (8, 9): Sizes(142, 101_376),
    (9, 0): Sizes(132, 232_448),
}


def sizes_of(capability: Capability) -> Sizes:
    """Return the sizes of the newest generation that is known and not newer than `capability`."""
    known = [each for each in SIZES if each <= capability]
    return SIZES[max(known, default=(8, 6))]


@functools.lru_cache(4096)
def configuration(kernel: str, capability: Capability, m: int, n: int, k: int, group: int = 0) -> Config:
    """Return how to cut the product of [m, k] and a weight [n, k].

    Args:
        kernel: one of `KERNELS`, or a name that only tables know.
        capability: of the GPU: (9, 0).
        group: columns of the weight that share a scale, 0 for all.
    """
    table = table_for(capability)
    found = None if table is None else table.find(kernel, m, n, k, group)
    return found or estimated(kernel, sizes_of(capability), m, n, k, group)


@functools.lru_cache(256)
def dequantize_from(kernel: str, capability: Capability) -> int:
    """Return from how many rows of the input on `kernel` makes floats of the weight first."""
    table = table_for(capability)
    return DEQUANTIZE_FROM if table is None else table.dequantize_from.get(kernel, DEQUANTIZE_FROM)


def estimated(kernel: str, sizes: Sizes, m: int, n: int, k: int, group: int = 0) -> Config:
    """Return a configuration that fits the shared memory and gives every processor work.

    A kernel that only tables know is taken for one of 16 bits by 16.
    """
    block_m = min(max(8, 2 ** math.ceil(math.log2(max(m, 1)))), 64 if kernel in _weights_left() else 128)
    block_n = _block_n(kernel, block_m, -(-m // block_m), n, sizes)
    # Few columns with a scale of their own: where the rows are many, or the registers few, fewer of them at once.
    narrow = (0 < group < 128 and block_m > 16) or (group == 32 and sizes.shared < _LARGE)
    block_k = 64 if narrow else 128
    num_stages = _stages(kernel, block_m, block_n, block_k, sizes)
    if num_stages < 3:
        block_k = 64
        num_stages = _stages(kernel, block_m, block_n, block_k, sizes)
    num_warps = 8 if block_m * block_n >= _many_sums(kernel, group, sizes) else 4
    split_k = _parts(-(-n // block_n) * -(-m // block_m), k // block_k, sizes)
    return Config(block_m, block_n, block_k, split_k, num_warps, num_stages)


def _many_sums(kernel: str, group: int, sizes: Sizes) -> int:
    """Return from how many sums on 4 warps have no registers for them: fewer where each group has sums of its own."""
    if sizes.shared >= _LARGE or not 0 < group < 128:
        return 128 * 128
    return 16 * 128 if kernel == GATED[8] and group == 32 else 64 * 128


def _stages(kernel: str, block_m: int, block_n: int, block_k: int, sizes: Sizes) -> int:
    """Return how many loads under way the shared memory has room for; some is left for scales and for the result."""
    of_input, of_weight = _BITS.get(kernel, (16, 16))
    bytes_of_stage = block_k * (block_m * of_input + block_n * of_weight) // 8
    return max(2, min(5, (sizes.shared - 20_480) // bytes_of_stage))


def _weights_left() -> tuple[str, ...]:
    return (*WEIGHT_ONLY.values(), *GATED.values())


def _block_n(kernel: str, block_m: int, blocks_m: int, n: int, sizes: Sizes) -> int:
    if kernel == "int8" and sizes.shared >= _LARGE and blocks_m > 1 and blocks_m * -(-n // 256) >= sizes.processors:
        return 256
    # Weights of 4 bits take so few instructions that what a round of the loop costs beside them counts.
    if kernel in (WEIGHT_ONLY[4], *GATED.values()) or block_m >= 64:
        return 128
    return 128 if blocks_m * -(-n // 128) >= sizes.processors else 64


def _parts(programs: int, steps: int, sizes: Sizes) -> int:
    """Return into how many parts to cut K: until there are two programs for a processor, with 4 steps in each."""
    parts = 1
    while parts < MOST_PARTS and programs * parts * 2 <= 2 * sizes.processors and steps >= 8 * parts:
        parts *= 2
    return parts
