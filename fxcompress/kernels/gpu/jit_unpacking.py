"""Triton: words of packed weights become the left operand of a product, within the registers of each thread.

A tensor core wants of thread t (warp w, lane 4g + q) for 16 columns of a 16-row slice the rows g and g + 8 (h) and the
columns 2q, 2q + 1 (e), 2q + 8, 2q + 9 (c). `tiles.pack_tiles` stores the integers in that order, so that none of them
has to move. Two columns side by side share a register: an integer is put into the mantissa of a float of fixed
exponent by one `lop3`, and that exponent's value is taken off by one `fma`, for both at once.

Inline assembly gives each register two neighbours along the last axis of a tensor. What the neighbours mean is ours to
say, and here it is e. Where there is no assembly (the interpreter, float32) shifts lead to the same order.
"""

from __future__ import annotations

import triton
import triton.language as tl

# All are registers, and results are written before words are read.
_PLAIN_4 = tl.constexpr("=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r,r,r")
_AFFINE_4 = tl.constexpr("=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r,r,r,r,r,r,r")
_PLAIN_8 = tl.constexpr("=&r,=&r,=&r,=&r,r,r")
_AFFINE_8 = tl.constexpr("=&r,=&r,=&r,=&r,r,r,r,r,r,r")


@triton.jit
def unpacked(
    words: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    DTYPE: tl.constexpr,
    BITS: tl.constexpr,
    AFFINE: tl.constexpr,
    PTX: tl.constexpr,
) -> tl.tensor:
    """Return weights [64 * row tiles, columns] of DTYPE.

    Args:
        words: int32 [column tiles, 128 * row tiles, words of a thread].
        low, high: int32 [1, 128 * row tiles, 1], where AFFINE: what is added to the rows g and g + 8 of each thread,
            as a pair of floats, or, without PTX, as an integer.
        PTX: what `assembly.unpacking` gives, or nothing where there is no assembly.
    """
    if not PTX:
        return _by_shifts(words, low, high, DTYPE, BITS, AFFINE)
    TILES: tl.constexpr = words.shape[0]
    ROWS: tl.constexpr = words.shape[1] // 2
    PAIRS: tl.constexpr = words.shape[2] // 2
    if BITS == 4:
        made = _assembled_4(words, low, high, AFFINE, PTX)
        # tile, warp, g, q, p, e, s, c, h
        apart = tl.reshape(made, (TILES, ROWS // 16, 8, 4, PAIRS, 2, 2, 2, 2))
        placed = tl.permute(apart, (1, 8, 2, 0, 4, 6, 7, 3, 5))
    else:
        made = _assembled_8(words, low, high, AFFINE, PTX)
        # tile, warp, g, q, s, e, c, h
        apart = tl.reshape(made, (TILES, ROWS // 16, 8, 4, PAIRS, 2, 2, 2))
        placed = tl.permute(apart, (1, 7, 2, 0, 4, 6, 3, 5))
    return tl.reshape(placed, (ROWS, TILES * PAIRS * (128 // BITS))).to(DTYPE, bitcast=True)


@triton.jit
def _assembled_4(
    words: tl.tensor, low: tl.tensor, high: tl.tensor, AFFINE: tl.constexpr, PTX: tl.constexpr
) -> tl.tensor:
    """Return the bits of floats, int16 [..., words, 2, 2, 2]: with e in the last bit of the words; then s, c, h."""
    if AFFINE:
        lows, highs = tl.broadcast_to(low, words.shape), tl.broadcast_to(high, words.shape)
        made = tl.inline_asm_elementwise(PTX, _AFFINE_4, [words, lows, highs], (tl.int16,) * 8, True, 2)
    else:
        made = tl.inline_asm_elementwise(PTX, _PLAIN_4, [words], (tl.int16,) * 8, True, 2)
    first = tl.join(tl.join(made[0], made[4]), tl.join(made[2], made[6]))
    second = tl.join(tl.join(made[1], made[5]), tl.join(made[3], made[7]))
    return tl.join(first, second)


@triton.jit
def _assembled_8(
    words: tl.tensor, low: tl.tensor, high: tl.tensor, AFFINE: tl.constexpr, PTX: tl.constexpr
) -> tl.tensor:
    """Return the bits of floats, int16 [..., words, 2, 2]: with e in the last bit of the words; then c, h."""
    if AFFINE:
        lows, highs = tl.broadcast_to(low, words.shape), tl.broadcast_to(high, words.shape)
        made = tl.inline_asm_elementwise(PTX, _AFFINE_8, [words, lows, highs], (tl.int16,) * 4, True, 2)
    else:
        made = tl.inline_asm_elementwise(PTX, _PLAIN_8, [words], (tl.int16,) * 4, True, 2)
    return tl.join(tl.join(made[0], made[2]), tl.join(made[1], made[3]))


@triton.jit
def _by_shifts(
    words: tl.tensor,
    low: tl.tensor,
    high: tl.tensor,
    DTYPE: tl.constexpr,
    BITS: tl.constexpr,
    AFFINE: tl.constexpr,
) -> tl.tensor:
    TILES: tl.constexpr = words.shape[0]
    ROWS: tl.constexpr = words.shape[1] // 2
    PAIRS: tl.constexpr = words.shape[2] // 2
    EACH: tl.constexpr = 32 // BITS
    shifts = BITS * tl.arange(0, EACH)[None, None, None, :]
    whole = (words[:, :, :, None] >> shifts) & (2**BITS - 1)
    integers = whole - 8 if BITS == 4 else (whole ^ 128) - 128
    if BITS == 4:
        # tile, warp, g, q, p, s, e, c, h
        apart = tl.reshape(integers, (TILES, ROWS // 16, 8, 4, PAIRS, 2, 2, 2, 2))
        placed = tl.permute(apart, (1, 8, 2, 0, 4, 5, 7, 3, 6))
    else:
        # tile, warp, g, q, s, c, e, h
        apart = tl.reshape(integers, (TILES, ROWS // 16, 8, 4, PAIRS, 2, 2, 2))
        placed = tl.permute(apart, (1, 7, 2, 0, 4, 5, 3, 6))
    made = tl.reshape(placed, (ROWS, TILES * PAIRS * (128 // BITS)))
    if AFFINE:
        of_rows = tl.join(low, high)  # 1, thread, 1, h
        first = tl.reshape(of_rows, (ROWS // 16, 8, 4, 2))
        # The four lanes of a row hold the same.
        of_row = tl.max(first, 2)
        made += tl.reshape(tl.permute(of_row, (0, 2, 1)), (ROWS, 1))
    return made.to(DTYPE)
