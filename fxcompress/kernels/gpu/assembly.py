"""The assembly (PTX) that makes floats of packed integers; see `jit_unpacking` for where they lie.

An integer is put into the mantissa of a float of fixed exponent by one `lop3`, and that exponent's value is taken off
by one `fma`, for two integers at once.
"""

from __future__ import annotations

import torch

# By the dtype: the suffix of instructions on pairs, an exponent whose mantissa counts in ones, minus its value minus 8,
# one and minus one.
_FLOATS = {
    "bf16": ("bf16x2", 0x43004300, 0xC308C308, 0x3F803F80, 0xBF80BF80),
    "fp16": ("f16x2", 0x64006400, 0xE408E408, 0x3C003C00, 0xBC00BC00),
}
# `lop3` of a, b and c with this table is a & b | c.
_AND_OR = "0xEA"


def four_bits(dtype: str, affine: bool) -> str:
    """Return PTX that makes the 16 integers of two words into 8 pairs of floats.

    Operands 0 to 7 are the pairs: 4 * word + 2 * c + h. Then come the two words, and where `affine` the pairs of what
    is added behind, twice for h = 0 and twice for h = 1: minus the exponent's value, minus 8, minus the zero point.
    """
    suffix, exponent, offset, one, _ = _FLOATS[dtype]
    lines = ["{", ".reg .b32 shifted<8>, one, off;", f"mov.b32 one, {one:#x};", f"mov.b32 off, {offset:#x};"]
    for place in range(8):
        added = f"${10 + 2 * (place % 2)}" if affine else "off"
        lines.append(f"shr.u32 shifted{place}, ${8 + place // 4}, {4 * (place % 4)};")
        lines.append(f"lop3.b32 shifted{place}, shifted{place}, 0x000F000F, {exponent:#x}, {_AND_OR};")
        lines.append(f"fma.rn.{suffix} ${place}, shifted{place}, one, {added};")
    return "\n".join([*lines, "}"])


def eight_bits(dtype: str, affine: bool) -> str:
    """Return PTX that makes the 8 integers of two words into 4 pairs of floats.

    Operands 0 to 3 are the pairs: 2 * word + h; the rest as of `four_bits`, but what is added is minus the zero point.
    A byte has a bit more than the mantissa of bfloat16: its sign is taken off as an exponent of its own.
    """
    suffix, exponent, _, one, minus = _FLOATS[dtype]
    lines = ["{", ".reg .b32 shifted<4>, low<4>, sign<4>, one, minus;"]
    lines += [f"mov.b32 one, {one:#x};", f"mov.b32 minus, {minus:#x};"]
    for place in range(4):
        lines.append(f"shr.u32 shifted{place}, ${4 + place // 2}, {8 * (place % 2)};")
        lines.append(f"lop3.b32 low{place}, shifted{place}, 0x007F007F, {exponent:#x}, {_AND_OR};")
        lines.append(f"lop3.b32 sign{place}, shifted{place}, 0x00800080, {exponent:#x}, {_AND_OR};")
        lines.append(f"fma.rn.{suffix} ${place}, sign{place}, minus, low{place};")
        if affine:
            # Only now: what is above 256 has no odd numbers in bfloat16.
            lines.append(f"fma.rn.{suffix} ${place}, ${place}, one, ${6 + 2 * (place % 2)};")
    return "\n".join([*lines, "}"])


def unpacking(bits: int, dtype: torch.dtype, affine: bool) -> str:
    """Return the PTX for weights of `bits` as floats of `dtype`, nothing where there is none."""
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype)
    return "" if name is None else (four_bits if bits == 4 else eight_bits)(name, affine)
