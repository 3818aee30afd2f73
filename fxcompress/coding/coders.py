"""The coders by their names, and the choice of the one that makes a block of elements smallest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding import adaptive, gaps, huffman, planes, rans
from fxcompress.coding.frequencies import entropy_bits
from fxcompress.coding.palette import Symbols, symbols_of
from fxcompress.errors import ArtifactError, UsageError
from fxcompress.text import suggestion

Values = NDArray[np.unsignedinteger]
Coded = bytes | memoryview


@dataclass(frozen=True)
class Block:
    """Elements that are coded together.

    Attributes:
        values: of one dimension, u8 to u64, at least one.
        shape: how they lie, sizes whose product is their number.
    """

    values: Values
    shape: tuple[int, ...]

    @cached_property
    def symbols(self) -> Symbols | None:
        return symbols_of(self.values)


@dataclass(frozen=True)
class Coder:
    """A way to write elements.

    Attributes:
        encode: gives bytes, None where it is not made for such elements.
        decode: fills an array of the same size and dtype; raises ArtifactError for bytes that `encode` does not give.
    """

    encode: Callable[[Block], Coded | None]
    decode: Callable[[Coded, Values], None]


def _raw(block: Block) -> memoryview:
    return block.values.astype(block.values.dtype.newbyteorder("<"), copy=False).data.cast("B")


def _decode_raw(data: Coded, out: Values) -> None:
    if len(data) != out.nbytes:
        raise ArtifactError(f"{len(data):,} bytes stand where there should be {out.nbytes:,}")
    out[:] = np.frombuffer(data, out.dtype.newbyteorder("<"))


def _of_symbols(encode: Callable[[Symbols], bytes]) -> Callable[[Block], bytes | None]:
    return lambda block: None if block.symbols is None else encode(block.symbols)


CODERS: dict[str, Coder] = {
    "raw": Coder(_raw, _decode_raw),
    "planes": Coder(lambda block: planes.encode(block.values), planes.decode),
    "huffman": Coder(_of_symbols(huffman.encode), huffman.decode),
    "gaps": Coder(_of_symbols(gaps.encode), gaps.decode),
    "rans": Coder(_of_symbols(rans.encode), rans.decode),
    "adaptive": Coder(
        lambda block: None if block.symbols is None else adaptive.encode(block.symbols, block.shape),
        adaptive.decode,
    ),
}
NONE, AUTO = "none", "auto"
SMALL = 1 << 17
WORTH = 0.98


def check_coding(coding: str) -> str:
    """Return `coding` where it is `none`, `auto` or the name of a coder.

    Raises:
        UsageError: it is not.
    """
    if coding not in (known := (NONE, AUTO, *CODERS)):
        raise UsageError(f"there is no coding {coding!r}", hint=suggestion(coding, known))
    return coding


def encode_block(block: Block, coding: str) -> tuple[str, Coded]:
    """Return the name of the coder and its bytes: those of `coding` or, where these are fewer, the bare elements.

    Args:
        block: elements.
        coding: a coder, or `auto`, which takes the one that gives fewest bytes; in blocks of more than 131,072
            elements one that takes longer to decode is taken only where it saves a hundredth.
    """
    best, smallest = "raw", _raw(block)
    # A slower coder of a large block has to earn its time.
    share = 1.0 if coding != AUTO or block.values.size <= SMALL else 0.99
    for name in _promising(block) if coding == AUTO else (coding,):
        coded: Coded | None = CODERS[name].encode(block)
        if coded is not None and len(coded) < len(smallest) * share:
            best, smallest = name, memoryview(coded)
    return best, smallest


def decode_block(coder: str, data: Coded, out: Values) -> None:
    """Fill `out` with the elements that `encode_block` coded.

    Raises:
        ArtifactError: bytes that the coder does not give; memory stays below a small multiple of that of `out`.
    """
    CODERS[coder].decode(data, out)


def entropy_bytes(values: Values) -> float:
    """Return the order-0 entropy of all elements in bytes.

    Elements wider than a byte take the list of the values with it, or the entropy of their byte planes if that is less.
    """
    found = symbols_of(values)
    listed = values.itemsize * found.palette.size if found is not None and values.itemsize > 1 else 0
    whole = math.inf if found is None else entropy_bits(found.counts) / 8 + listed
    return whole if values.itemsize == 1 else min(whole, planes.entropy_of_planes(values) / 8)


def _promising(block: Block) -> list[str]:
    """Return the coders that may give fewest bytes, the fastest to decode first; of a small block nearly all."""
    found, size = block.symbols, block.values.size
    if found is None:
        return ["planes"]
    names = []
    if size <= SMALL or float(found.counts.max()) > size / 2:
        names.append("gaps")
    if size <= SMALL:
        names.append("huffman")
    if block.values.itemsize > 1 and found.palette.size > math.isqrt(size):
        names.append("planes")
    names.append("rans")
    # It takes up to a microsecond an element, so a part has to show first that it is worth it.
    if size <= SMALL or adaptive.share_of_entropy(found, block.shape) < WORTH:
        names.append("adaptive")
    return names
